package loops

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	// firstPause is the pause before the first restart; each further one doubles.
	firstPause = 200 * time.Millisecond
	// Steady is how long a loop must run for its earlier deaths to be forgotten.
	Steady = time.Minute
	// jitter spreads a pause by this share of it, both ways, so that loops that
	// died together do not come back together.
	jitter = 0.1
)

// Supervisor starts loops again that die. Its fields are not changed once it is used.
type Supervisor struct {
	// Longest is the longest pause before a restart, before jitter of a tenth.
	// Defaults to 30 s.
	Longest time.Duration
	// Logger gets an error for each death. Defaults to slog.Default().
	Logger *slog.Logger
	// Died is called with the name of the loop and why it died, before the pause.
	// It counts, alerts, or gives up what the loop left half done. Defaults to
	// nothing.
	Died func(loop string, why error)
}

// Keep runs a loop until it returns nil or ctx ends. After a panic or an error it
// runs the loop again, each time after a longer pause. An error that a loop returns
// once ctx has ended is its way to end; a panic is reported even then.
func (s Supervisor) Keep(ctx context.Context, loop string, run func(context.Context) error) {
	for died := 1; ; died++ {
		begun := time.Now()
		if s.Once(ctx, loop, run) == nil {
			return
		}
		if time.Since(begun) > Steady {
			died = 1
		}
		if !Sleep(ctx, s.Pause(died)) {
			return
		}
	}
}

// Once runs a loop once and returns why it died: its error or a *Panic. Nil: it
// returned nil, or any error once ctx had ended.
func (s Supervisor) Once(ctx context.Context, loop string, run func(context.Context) error) error {
	why := Safely(func() error { return run(ctx) })
	p, panicked := errors.AsType[*Panic](why)
	if why == nil || !panicked && ctx.Err() != nil {
		return nil
	}
	log := s.Logger
	if log == nil {
		log = slog.Default()
	}
	if panicked {
		log.Error("a loop panicked; it is started again", "loop", loop, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
	} else {
		log.Error("a loop died and is started again", "loop", loop, "error", why)
	}
	if s.Died != nil {
		s.Died(loop, why)
	}
	return why
}

// Pause returns the pause after the given number of deaths in a row, 1 or more.
func (s Supervisor) Pause(died int) time.Duration {
	longest := s.Longest
	if longest <= 0 {
		longest = 30 * time.Second
	}
	d := doubled(firstPause, died-1, longest)
	return time.Duration(float64(d) * (1 + jitter*(2*rand.Float64()-1)))
}

// doubled returns d doubled n times, at most longest.
func doubled(d time.Duration, n int, longest time.Duration) time.Duration {
	for range n {
		if d *= 2; d >= longest {
			break
		}
	}
	return min(d, longest)
}
