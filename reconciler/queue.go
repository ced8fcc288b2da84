package reconciler

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/measure"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

const (
	// leaseQueue is the lease of the replica that measures the queue. It is not a
	// task in the store: the queue is measured while the store is away, too.
	leaseQueue = "queue"
	// measureEvery is how often it is measured.
	measureEvery = 5 * time.Second
	// workerless is for how many lease TTLs a fleet may have work and no live worker
	// before an alert is raised. A restart of one worker takes less.
	workerless = 3
)

// queue exports the work that waits for workers, as workers themselves do, and raises
// an alert if there is no worker. Workers that are gone cannot report it.
func (r *Reconciler) queue(ctx context.Context, l *telemetry.Loop) error {
	for logged := false; ctx.Err() == nil; {
		l.Turn()
		lease, err := r.Streams.Task(ctx, leaseQueue, r.ID)
		switch {
		case err == nil:
			logged = false
			held, release := r.hold(ctx, lease)
			r.measureQueue(held, l)
			release()
		case errors.Is(err, stream.ErrHeld):
			logged = false
			l.Waiting("the lease of the queue")
		default:
			logged = r.waits(l, "the figures of the queue", err, logged)
		}
		loops.Sleep(ctx, r.LeaseTTL/2)
	}
	return ctx.Err()
}

func (r *Reconciler) measureQueue(ctx context.Context, l *telemetry.Loop) {
	names := make([]string, len(r.sources))
	for i, s := range r.sources {
		names[i] = s.Name
	}
	defer r.Metrics.ForgetFleet(names) // old figures must not remain beside those of the next holder
	var w watch
	var evicting bool
	astray := strayRows{r: r}
	defer astray.forget()
	for ctx.Err() == nil {
		l.Turn()
		measure.Full(r.Metrics, r.Streams, r.Store)
		astray.count(ctx)
		if shards, workers, err := r.Streams.Fleet(ctx, names); err == nil {
			totals := measure.Queue(r.Metrics, shards, names)
			r.Metrics.Workers.WithLabelValues().Set(float64(len(workers)))
			for _, a := range w.seeKeys(shards) {
				r.Alert(a)
			}
			for _, a := range w.see(totals, len(workers), time.Now(), workerless*r.LeaseTTL) {
				r.Alert(a)
			}
		} // otherwise the loops that need Redis report it
		err := r.Streams.Evicting()
		if err != nil && !evicting {
			r.Alert(alert.Alert{Kind: alert.RedisUnsafe, Reason: err.Error()}) // one for the fleet
		}
		evicting = err != nil
		l.Waiting("the next measurement")
		loops.Sleep(ctx, min(measureEvery, r.LeaseTTL))
	}
}

// watch remembers since when there has been no live worker, by the monotonic clock,
// and the sources for which an alert was raised.
type watch struct {
	since   time.Time
	alerted map[string]bool
	wrong   map[string]bool // keys for which an alert was raised
}

// seeKeys returns an alert for each key that holds another type than the fleet
// writes, once until it no longer does.
func (w *watch) seeKeys(shards []stream.ShardState) (alerts []alert.Alert) {
	wrong := map[string]bool{}
	for _, s := range shards {
		for _, key := range s.Wrong {
			if wrong[key] = true; !w.wrong[key] {
				alerts = append(alerts, alert.Alert{Kind: alert.RedisUnsafe, Reason: fmt.Sprintf(
					"the redis key %s of shard %d holds another type than the fleet writes: what belongs under it is refused and not worked on; rename the key or delete it", key, s.Shard)})
			}
		}
	}
	w.wrong = wrong
	return alerts
}

// see returns an alert for each source that has had work and no worker for as
// long as patience. A source is alerted once, until a worker is there again or
// its work is gone.
func (w *watch) see(totals map[string]stream.ShardSource, workers int, now time.Time, patience time.Duration) []alert.Alert {
	if workers > 0 {
		w.since, w.alerted = time.Time{}, nil
		return nil
	}
	if w.since.IsZero() {
		w.since, w.alerted = now, map[string]bool{}
	}
	var alerts []alert.Alert
	for name, t := range totals {
		t.Background -= t.Scheduled // delayed signals do not wait for a worker
		waiting := t.Live + t.Background + t.Parked
		switch {
		case waiting == 0:
			delete(w.alerted, name)
		case w.alerted[name] || now.Sub(w.since) < patience:
		case max(t.Oldest, t.OldestBackground) < patience && t.Parked == 0:
		default:
			w.alerted[name] = true
			alerts = append(alerts, alert.Alert{
				Kind: alert.NoWorker, Source: name,
				Reason: fmt.Sprintf("no worker has been alive for %s; waiting: %d %s, %d %s, %d parked entities; the oldest for %s",
					now.Sub(w.since).Round(time.Second), t.Live, event.TierLive, t.Background, event.TierBackground, t.Parked,
					max(t.Oldest, t.OldestBackground).Round(time.Second)),
			})
		}
	}
	return alerts
}
