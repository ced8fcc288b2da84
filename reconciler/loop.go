package reconciler

import (
	"context"
	"errors"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// loop runs until ctx ends. It reports at each turn that it is alive, and returns
// early only if something is wrong.
type loop func(ctx context.Context, l *telemetry.Loop) error

// errReturned is the failure of a loop that returned without an error.
var errReturned = errors.New("it returned")

// keep runs a loop until ctx ends and restarts it with back-off when it fails.
func (r *Reconciler) keep(ctx context.Context, name string, run loop) {
	l := r.Health.Loop(name)
	defer l.Done()
	r.Metrics.Restarts.WithLabelValues(name) // 0 from the start: a series that begins at 1 has not grown
	supervisor := loops.Supervisor{Logger: r.Logger, Died: func(loop string, _ error) {
		r.Metrics.Restarts.WithLabelValues(loop).Inc()
		l.Waiting("its restart")
	}}
	supervisor.Keep(ctx, name, func(ctx context.Context) error {
		if err := run(ctx, l); err != nil {
			return err
		}
		return errReturned
	})
}
