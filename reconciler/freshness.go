package reconciler

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// stalenessEvery is how often the age of documents is measured.
const stalenessEvery = 20 * time.Second

// staleness exports how long ago the documents of each kind were last known to
// be true. Every replica does, so that the figure goes with none of them.
func (r *Reconciler) staleness(ctx context.Context, l *telemetry.Loop) error {
	f := r.waiting(l)
	for ctx.Err() == nil {
		l.Turn()
		for window, names := range r.windows() {
			if err := r.measure(ctx, f, window, names); err != nil {
				return err
			}
		}
		l.Waiting("the next measurement")
		rest(ctx, stalenessEvery)
	}
	return ctx.Err()
}

// windows are the sources by how long after its end an entity is still looked
// after.
func (r *Reconciler) windows() map[time.Duration]map[string]bool {
	by := map[time.Duration]map[string]bool{}
	for _, s := range r.sources {
		w := s.Settings.Window
		if by[w] == nil {
			by[w] = map[string]bool{}
		}
		by[w][s.Name] = true
	}
	return by
}

func (r *Reconciler) measure(ctx context.Context, f *finder, window time.Duration, names map[string]bool) error {
	var kinds []mirror.Staleness
	now := r.Now()
	err := f.persist(ctx, "look for stale documents", func() (err error) {
		kinds, err = r.Store.Staleness(ctx, now.Add(-window))
		return err
	})
	if err != nil {
		return err
	}
	for name := range names { // a kind of which nothing is looked after any more
		r.Metrics.Staleness.DeletePartialMatch(prometheus.Labels{"source": name})
	}
	for _, k := range kinds {
		if names[k.Source] && !k.Oldest.IsZero() {
			r.Metrics.Staleness.WithLabelValues(k.Source, k.Kind).Set(now.Sub(k.Oldest).Seconds())
		}
	}
	return nil
}
