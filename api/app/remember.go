package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/stream"
)

const (
	// rememberEvery is how often the sources are noted in Redis, which may have
	// lost them, and rememberSoon how soon again after that has failed.
	rememberEvery = time.Minute
	rememberSoon  = 2 * time.Second
)

// rememberSources keeps the names of the sources in Redis until ctx ends. The api may
// accept events of a source that no worker has in its settings. Only if the name is kept
// is that work found to wait.
func rememberSources(ctx context.Context, log *slog.Logger, streams *stream.Streams, t *tie, sources []process.Source) {
	names := make([]string, len(sources))
	for i, s := range sources {
		names[i] = s.Name
	}
	for failed := false; ; {
		err := t.check(ctx)
		if err == nil {
			err = streams.Remember(ctx, names)
		}
		if err != nil && !failed && ctx.Err() == nil {
			log.Warn("the sources could not be noted in redis; trying again", "error", err)
		}
		wait := rememberEvery
		if failed = err != nil; failed {
			wait = rememberSoon
		}
		if !loops.Sleep(ctx, wait) {
			return
		}
	}
}
