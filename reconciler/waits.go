package reconciler

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
)

// errPaused is why a command does not wait for a paused source any longer.
type errPaused string

func (e errPaused) Error() string { return string(e) }

// waitingAtMost returns a finder that calls giveUp when the source is paused by hand,
// or has been paused for longer than d at a stretch: a command should end then, and an
// operator who reads its answer knows why. It logs the first wait.
func (f *finder) waitingAtMost(d time.Duration, giveUp func(error)) *finder {
	own := *f
	var mu sync.Mutex
	var pause, noticed time.Time // when the pause began, by Redis, and was seen, by us
	own.onPause = func(state stream.SourceState) {
		mu.Lock()
		defer mu.Unlock()
		if noticed.IsZero() {
			f.log.Warn("waiting: the source is paused", "source", f.name, "reason", state.Reason, "by", state.By)
		}
		if noticed.IsZero() || !state.Since.Equal(pause) {
			pause, noticed = state.Since, f.now()
		}
		switch waited := f.now().Sub(noticed); {
		case state.Kind == fate.PausedByHand || state.Until.IsZero():
			giveUp(errPaused(fmt.Sprintf("source %s is paused by hand, by %s (%s): resume it first", f.name, state.By, state.Reason)))
		case waited >= d:
			giveUp(errPaused(fmt.Sprintf("source %s has been paused for more than %s (%s)", f.name, d, state.Reason)))
		}
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
