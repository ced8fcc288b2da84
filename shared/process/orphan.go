package process

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/orphan"
	"github.com/tarn-sync/tarn/shared/stream"
)

// orphansWithin bounds the look for work of sources that are not configured.
const orphansWithin = 5 * time.Second

// WarnOfOrphans logs what waits of sources that are not configured. It is for
// the start of a process; workers go on measuring it.
func (p *Process) WarnOfOrphans(ctx context.Context, streams *stream.Streams, log orphan.Log) {
	ctx, cancel := context.WithTimeout(ctx, orphansWithin)
	defer cancel()
	found, err := orphan.Find(ctx, streams, log, slices.Sorted(maps.Keys(p.Config.Sources)))
	if err != nil {
		p.Logger.Warn("whether work of a source that is not configured waits is not known", "error", err)
	}
	for _, w := range found {
		w.Warn(p.Logger)
	}
}
