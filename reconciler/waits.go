package reconciler

import (
	"context"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/stream"
)

// saying returns a finder that says in the log, once, that it waits for a paused
// source: somebody looks on, and a pause made by hand has no end of its own.
func (f *finder) saying() *finder {
	own := *f
	var once sync.Once
	own.onPause = func(state stream.SourceState) {
		once.Do(func() {
			f.log.Warn("waiting: the source is paused", "source", f.name, "reason", state.Reason, "by", state.By)
		})
	}
	return &own
}

// waitsFor says what a command of one source was kept by when it was stopped:
// the source is paused, Redis does not answer, or nothing in particular.
func (f *finder) waitsFor(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	switch state, err := f.streams.Source(ctx, f.name); {
	case err != nil:
		return "stopped while redis does not answer"
	case state.Paused:
		return "stopped while source " + f.name + " is paused (" + state.Reason + ")"
	}
	return "stopped by a signal"
}
