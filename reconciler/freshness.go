package reconciler

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
)

// stalenessEvery is how often the age of documents is measured.
const stalenessEvery = time.Minute

// staleness exports how long ago the living documents of each kind were last known
// to be true. Only the holder of the lease does, so the database is asked once and
// there is one figure.
func (r *Reconciler) staleness(ctx context.Context, w *work) error {
	s := r.source(w.task.Source)
	f := r.finder(s, w.loop)
	// An old figure must not remain beside that of the next holder.
	defer r.unmeasured(s.Name)
	unmet := unmetWatch{finder: f}
	for ctx.Err() == nil {
		w.loop.Turn()
		if err := r.measure(ctx, f); err != nil {
			return err
		}
		unmet.look(ctx)
		w.loop.Waiting("the next measurement")
		loops.Sleep(ctx, stalenessEvery)
	}
	return ctx.Err()
}

func (r *Reconciler) unmeasured(source string) {
	r.Metrics.Staleness.DeletePartialMatch(prometheus.Labels{"source": source})
	r.Metrics.VerifyEvery.DeletePartialMatch(prometheus.Labels{"source": source})
}

func (r *Reconciler) measure(ctx context.Context, f *finder) error {
	var kinds []storage.Staleness
	now := r.Now()
	err := f.persist(ctx, "look for stale documents", func() (err error) {
		kinds, err = f.store.Staleness(ctx, f.name, f.kinds())
		return err
	})
	if err != nil {
		return err
	}
	r.unmeasured(f.name) // a kind may have no living document any more
	for _, k := range kinds {
		if !k.Oldest.IsZero() {
			r.Metrics.Staleness.WithLabelValues(f.name, k.Kind).Set(now.Sub(k.Oldest).Seconds())
			r.Metrics.VerifyEvery.WithLabelValues(f.name, k.Kind).Set(f.verifyEvery(k.Kind).Seconds())
		}
	}
	return nil
}
