package persist

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

const (
	// toldAfter is after how many time-outs in a row people hear of it, and again
	// each time there are as many more as remindAfter says.
	toldAfter, remindAfter = 3, 30
	// longestPause is the longest between two tries of a call that times out.
	longestPause = time.Minute
)

// Waiter repeats calls of the store. Its fields are not changed once it is used.
type Waiter struct {
	// Metrics count the calls that had to wait. Needed.
	Metrics *telemetry.Metrics
	// Logger hears of the first failure of a call. Needed.
	Logger *slog.Logger
	// Alert tells people of a call that times out again and again. May be nil.
	Alert func(alert.Alert)
	// Pause is how long a call that failed waits. One that times out waits twice
	// as long each time, at most a minute. Defaults to 1 s.
	Pause time.Duration
}

// Do runs do until it succeeds, fails for another reason than that the store is
// away, or ctx ends: then the error is that of ctx. loop, which may be nil,
// learns that it waits. what names the call and source whose it is, which may be
// "", for people.
func (w Waiter) Do(ctx context.Context, loop *telemetry.Loop, source, what string, do func() error) error {
	timeouts := 0
	for told := false; ; told = true {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if class, _ := fate.Of(err); class != fate.Unavailable {
			return fmt.Errorf("%s: %w", what, err)
		}
		if !told {
			w.Metrics.Unavailable.WithLabelValues("store").Inc()
			w.Logger.Warn("waiting: "+what, "source", source, "error", err)
		}
		on := "store"
		if !errors.Is(err, mirror.ErrTimeout) {
			timeouts = 0
		} else if timeouts++; timeouts >= toldAfter {
			on = fmt.Sprintf("store: %s timed out %d times", what, timeouts)
			if (timeouts-toldAfter)%remindAfter == 0 {
				w.tell(source, what, timeouts, err)
			}
		}
		loop.Waiting(on)
		if !sleep(ctx, w.pause(timeouts)) {
			return ctx.Err()
		}
	}
}

// tell tells people that a call does not come to an end.
func (w Waiter) tell(source, what string, timeouts int, err error) {
	w.Metrics.Unavailable.WithLabelValues("store_timeout").Inc()
	w.Logger.Error("the store takes longer than its time-out, again and again", "call", what, "source", source, "timeouts", timeouts, "error", err)
	if w.Alert != nil {
		w.Alert(alert.Alert{Kind: alert.StoreSlow, Source: source, Reason: fmt.Sprintf("%s timed out %d times in a row", what, timeouts)})
	}
}

func (w Waiter) pause(timeouts int) time.Duration {
	pause := w.Pause
	if pause <= 0 {
		pause = time.Second
	}
	for range timeouts - 1 {
		if pause *= 2; pause >= longestPause {
			return longestPause
		}
	}
	return pause
}

// sleep waits for d or until ctx ends; false: it ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
