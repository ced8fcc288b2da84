package reconciler

import (
	"context"
	"errors"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// loop is something the process does over and over until ctx ends. It says at
// each turn that it is alive, and returns early only if something is wrong.
type loop func(ctx context.Context, l *telemetry.Loop) error

// errReturned is why a loop died that returned without an error.
var errReturned = errors.New("it returned")

// keep runs a loop until ctx ends, again with back-off whenever it dies.
func (r *Reconciler) keep(ctx context.Context, name string, run loop) {
	l := r.Health.Loop(name)
	defer l.Done()
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
