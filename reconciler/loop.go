package reconciler

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// loop is something the process does over and over until ctx ends. It says at
// each turn that it is alive, and returns early only if something is wrong.
type loop func(ctx context.Context, l *telemetry.Loop) error

// restarts is the pause before a loop that died is started again.
var restarts = fate.Backoff{First: 200 * time.Millisecond, Cap: 30 * time.Second}.WithDefaults()

// steady is how long a loop runs until its earlier deaths are forgotten.
const steady = time.Minute

// keep runs a loop until ctx ends, again with back-off whenever it dies.
func (r *Reconciler) keep(ctx context.Context, name string, run loop) {
	l := r.Health.Loop(name)
	defer l.Done()
	for failed := 1; ; failed++ {
		begun := time.Now()
		err := safely(func() error { return run(ctx, l) })
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > steady {
			failed = 1
		}
		r.Metrics.Restarts.WithLabelValues(name).Inc()
		r.Logger.Error("a loop died and is started again", "loop", name, "error", err)
		l.Waiting("its restart")
		if !rest(ctx, restarts.After(failed, 0)) {
			return
		}
	}
}

// safely runs do and returns its panic as an error.
func safely(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}
