package process

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/orphan"
	"github.com/tarn-sync/tarn/shared/stream"
)

// unconfiguredWithin bounds the look for work of sources that are not configured.
const unconfiguredWithin = 5 * time.Second

// WarnOfUnconfigured logs the waiting work of sources that are not configured. It
// is for the start of a process; workers measure that work later on.
func (p *Process) WarnOfUnconfigured(ctx context.Context, streams *stream.Streams, log orphan.Log) {
	ctx, cancel := context.WithTimeout(ctx, unconfiguredWithin)
	defer cancel()
	found, err := orphan.Find(ctx, streams, log, slices.Sorted(maps.Keys(p.Config.Sources)))
	if err != nil {
		p.Logger.Warn("cannot look for work of unconfigured sources", "error", err)
	}
	for _, w := range found {
		w.Warn(p.Logger)
	}
}
