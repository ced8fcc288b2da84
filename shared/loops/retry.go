package loops

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

const (
	// aloudAfter is how many time-outs in a row are reported, aloudEvery how many
	// more are reported again.
	aloudAfter, aloudEvery = 3, 30
	// longestPause is the longest pause after a time-out.
	longestPause = time.Minute
)

// Health shows /healthz what a loop does; *telemetry.Loop is one.
type Health interface {
	// Waiting says that the loop waits for the named thing until its next turn.
	Waiting(on string)
}

// Retry repeats calls of a server while it is away. Its fields are not changed once
// it is used.
type Retry struct {
	// Server names the server in the log and in /healthz: "store". Needed.
	Server string
	// Away reports whether a failed call may succeed later by itself. Needed.
	Away func(error) bool
	// TimedOut reports whether a call took longer than its time-out. Defaults to
	// never.
	TimedOut func(error) bool
	// Pause is how long a failed call waits. After a time-out it doubles with each
	// further one, to a minute at most. Defaults to 1 s.
	Pause time.Duration
	// Logger gets the first failure of a call, and reports of time-outs. Defaults to
	// slog.Default().
	Logger *slog.Logger
	// Count is called with the server's name at the first failure of a call, and
	// with that and "_timeout" when time-outs are reported. Defaults to nothing.
	Count func(what string)
	// Hold is called with the server's name and 1 at the first failure of a call, and
	// with -1 when that call ends. Defaults to nothing.
	Hold func(server string, by float64)
	// Alert raises an alert of a call that times out again and again. Defaults to
	// nothing.
	Alert func(source, reason string)
}

// Call describes one call of a server for logs and alerts.
type Call struct {
	// What the call does: "settle events". "": it reaches the server at all, as at
	// the start of a process.
	What string
	// Source whose call it is. "": none, or several.
	Source string
	// Health of the loop that waits meanwhile. May be nil.
	Health Health
}

// Do runs do until it succeeds or fails with an error that is not Away. It returns
// that error with What before it, or ctx.Err() once ctx has ended and do has failed.
func (r Retry) Do(ctx context.Context, call Call, do func() error) error {
	timeouts, said := 0, false
	defer func() {
		if said && r.Hold != nil {
			r.Hold(r.Server, -1)
		}
	}()
	for {
		err := do()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !r.Away(err) {
			return call.wrap(err)
		}
		if !said {
			said = true
			r.count(r.Server)
			if r.Hold != nil {
				r.Hold(r.Server, 1)
			}
			r.log().Warn(r.waiting(call), "source", call.Source, "error", err)
		}
		if r.TimedOut != nil && r.TimedOut(err) {
			timeouts++
		} else {
			timeouts = 0
		}
		if timeouts >= aloudAfter && (timeouts-aloudAfter)%aloudEvery == 0 {
			r.sayAloud(call, timeouts, err)
		}
		r.show(call, timeouts)
		if !Sleep(ctx, r.pause(timeouts)) {
			return ctx.Err()
		}
	}
}

func (c Call) wrap(err error) error {
	if c.What == "" {
		return err
	}
	return fmt.Errorf("%s: %w", c.What, err)
}

func (r Retry) waiting(call Call) string {
	if call.What == "" {
		return "waiting for " + r.Server
	}
	return "waiting: " + call.What
}

// sayAloud reports that a call may never end.
func (r Retry) sayAloud(call Call, timeouts int, err error) {
	r.count(r.Server + "_timeout")
	r.log().Error("the "+r.Server+" takes longer than its time-out, again and again",
		"call", call.What, "source", call.Source, "timeouts", timeouts, "error", err)
	if r.Alert != nil {
		r.Alert(call.Source, fmt.Sprintf("%s timed out %d times in a row", call.What, timeouts))
	}
}

func (r Retry) show(call Call, timeouts int) {
	if call.Health == nil {
		return
	}
	on := r.Server
	if timeouts >= aloudAfter {
		on = fmt.Sprintf("%s: %s timed out %d times", r.Server, call.What, timeouts)
	}
	call.Health.Waiting(on)
}

func (r Retry) pause(timeouts int) time.Duration {
	pause := r.Pause
	if pause <= 0 {
		pause = time.Second
	}
	return doubled(pause, timeouts-1, max(pause, longestPause))
}

func (r Retry) count(what string) {
	if r.Count != nil {
		r.Count(what)
	}
}

func (r Retry) log() *slog.Logger {
	if r.Logger == nil {
		return slog.Default()
	}
	return r.Logger
}
