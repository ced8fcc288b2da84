package reconciler

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/storage"
)

// errPaused is the error of a command that stops waiting for a paused source.
type errPaused string

func (e errPaused) Error() string { return string(e) }

// waitingAtMost returns a finder that calls giveUp when the source is paused by hand,
// or has been paused for longer than d at a stretch. A command ends then, and its
// answer tells the operator why. The finder logs the first wait.
func (f *finder) waitingAtMost(d time.Duration, giveUp func(error)) *finder {
	own := *f
	var mu sync.Mutex
	var pause, noticed time.Time // when the pause began, by Redis' clock, and was noticed, by ours
	own.onPause = func(state condition.State) {
		mu.Lock()
		defer mu.Unlock()
		if noticed.IsZero() {
			f.log.Warn("waiting: the source is paused", "source", f.name, "reason", state.Reason, "by", state.By)
		}
		if noticed.IsZero() || !state.Since.Equal(pause) {
			pause, noticed = state.Since, f.now()
		}
		switch waited := f.now().Sub(noticed); {
		case state.Kind == condition.PausedByHand || !state.EndsByItself():
			giveUp(errPaused(fmt.Sprintf("source %s is paused by hand, by %s (%s): resume it first", f.name, state.By, state.Reason)))
		case waited >= d:
			giveUp(errPaused(fmt.Sprintf("source %s has been paused for more than %s (%s)", f.name, d, state.Reason)))
		}
	}
	return &own
}

// waitsFor says why a command of one source was not done when it was stopped: the
// source is paused, Redis does not answer, or only that it was stopped.
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

// waitsOn says what a backfill waits for that has made no progress since the last
// look.
func (f *finder) waitsOn(ctx context.Context, t *storage.Task, p progress) string {
	state, err := f.streams.Source(ctx, f.name)
	if err != nil {
		return "redis, which does not answer"
	}
	if state.Paused {
		until := "until it is resumed"
		if state.EndsByItself() {
			until = "until " + state.Until.UTC().Format(time.RFC3339) + " at least"
		}
		return fmt.Sprintf("source %s, which is paused by %s %s: %s", f.name, state.By, until, state.Reason)
	}
	if n, err := f.backlog(ctx); err == nil && (p.Phase == string(phaseFill) && n > 0 || n > ahead) {
		if _, workers, err := f.streams.Fleet(ctx, []string{f.name}); err == nil && len(workers) == 0 {
			return fmt.Sprintf("workers: none are running, and %d signals are queued", n)
		}
		return fmt.Sprintf("workers: %d signals are queued for the background", n)
	}
	sweep, err := decodeState[sweepState](t.State)
	if missing := sweep.NotFetched; err == nil && sweep.Phase == phaseFill && len(missing) > 0 {
		return fmt.Sprintf("%d entities that are not fetched yet, such as %s/%s: %s", t.Counts["not_fetched"], missing[0].Kind, missing[0].ID, missing[0].Reason)
	}
	if t.Status == storage.TaskWaiting {
		return "a reconciler that takes it up"
	}
	rate := f.rate()
	if left, err := f.streams.Budget(ctx, f.name, rate); err == nil && left < spent {
		return fmt.Sprintf("the budget of source %s, %d per %s for the whole fleet, which is spent", f.name, rate.Limit, rate.Per)
	}
	if spec, err := decodeState[storage.SweepSpec](t.Spec); err == nil && spec.Rate > 0 && sweep.Phase == phaseLists {
		return fmt.Sprintf("its own rate, %g list pages a second", spec.Rate)
	}
	return "an answer of the provider"
}

// spent is the share of a full budget below which it counts as spent.
const spent = 0.05
