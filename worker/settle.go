package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/worker/entity"
)

// settler writes settlements to the store, in the order the syncs ended. Those that
// come while a write is under way go in the next one.
//
// A settlement that the store refuses for its content is found and kept apart, so that
// the rest goes through. Its entries stay pending. A settlement whose sync has ended is
// tried again by itself, less and less often, without another fetch, and what its
// entity settles later waits behind it. One whose sync waits for it goes back to that
// sync, which is made again.
type settler struct {
	w     *Worker
	mu    sync.Mutex
	queue []settled
	added chan struct{}

	// refused are in the order of their syncs; failed counts the tries, the next
	// of which is at again. Only run touches them.
	refused []settled
	failed  int
	again   time.Time
}

// settled is what one sync has settled.
type settled struct {
	shard *shard
	key   event.Key
	list  []storage.Settlement
	// repairs are discrepancies, by id; repaired says how their repair ended.
	repairs  []string
	repaired bool
	// after is called when the store holds it.
	after func()
	// refused is called when the store has refused it, or an earlier one of its
	// entity, and once more for each try that failed. It reports whether the
	// settler keeps it, to try it again.
	refused func() (keep bool)
	// alerted: an alert that the store refuses it was raised.
	alerted bool
}

func newSettler(w *Worker) *settler { return &settler{w: w, added: make(chan struct{}, 1)} }

// add queues settlements.
func (t *settler) add(d settled) {
	if fault.Off("settle-order") {
		// ack before the store holds the outcome: a negative control
		go d.after() // not under the shard's mutex, which the caller holds
		d.after, d.refused = func() {}, func() bool { return true }
	}
	t.mu.Lock()
	t.queue = append(t.queue, d)
	t.mu.Unlock()
	select {
	case t.added <- struct{}{}:
	default:
	}
}

// run writes until ctx ends.
func (t *settler) run(ctx context.Context) {
	loop := t.w.Health.Loop("settler")
	defer loop.Done()
	for {
		loop.Waiting("settlements")
		var again <-chan time.Time
		if len(t.refused) > 0 {
			again = time.After(time.Until(t.again))
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
			t.retry(ctx, loop)
		case <-t.added:
		}
		loop.Turn()
		t.mu.Lock()
		batch := t.queue
		t.queue = nil
		t.mu.Unlock()
		t.flush(ctx, loop, batch)
	}
}

// flush writes one batch, except settlements that come after a refused one of the same
// entity.
func (t *settler) flush(ctx context.Context, loop *telemetry.Loop, batch []settled) {
	t.settle(ctx, loop, batch)
	if len(t.refused) > 0 && t.failed == 0 {
		t.putOff()
	}
}

// retry tries refused settlements again: the first of each entity by itself, then
// together those that come after one that is no longer refused.
func (t *settler) retry(ctx context.Context, loop *telemetry.Loop) {
	var first, behind []settled
	for _, d := range t.refused {
		if slices.ContainsFunc(first, d.sameEntity) {
			behind = append(behind, d)
		} else {
			first = append(first, d)
		}
	}
	t.refused = nil
	for _, d := range first {
		t.settle(ctx, loop, []settled{d})
	}
	t.settle(ctx, loop, behind)
	if len(t.refused) == 0 {
		t.failed = 0
		return
	}
	t.putOff()
}

// putOff sets when refused settlements are tried again.
func (t *settler) putOff() {
	t.failed++
	t.again = time.Now().Add(entity.Refusals.After(t.failed, 0))
}

// settle writes settlements as one. If the store refuses them, each half is
// written by itself, and so on down to the one that it refuses: among n, one is
// found with about 2·log n writes.
func (t *settler) settle(ctx context.Context, loop *telemetry.Loop, batch []settled) {
	batch = t.notBehind(ours(batch))
	if len(batch) == 0 {
		return
	}
	err := t.write(ctx, loop, batch)
	switch {
	case err == nil:
		for _, d := range batch {
			d.after()
		}
	case errors.Is(err, errLost):
		t.settle(ctx, loop, batch) // without what is not ours any more
	case ctx.Err() != nil: // the worker ends; a store that is away is waited for
	case len(batch) == 1:
		d := batch[0]
		t.w.Logger.Error("the store refused a settlement; it is tried again by itself", "entity", d.key.String(), "events", len(d.list), "error", err)
		t.raiseAlert(&d, err)
		t.setApart(d)
	default:
		half := len(batch) / 2
		t.settle(ctx, loop, batch[:half])
		t.settle(ctx, loop, batch[half:])
	}
}

// notBehind sets apart what comes after a refused settlement of the same entity,
// and returns the rest.
func (t *settler) notBehind(batch []settled) []settled {
	if len(t.refused) == 0 {
		return batch
	}
	return slices.DeleteFunc(batch, func(d settled) bool {
		behind := slices.ContainsFunc(t.refused, d.sameEntity)
		if behind {
			t.setApart(d)
		}
		return behind
	})
}

// setApart keeps a settlement to be tried again, or gives it back to its sync.
func (t *settler) setApart(d settled) {
	if d.refused() {
		t.refused = append(t.refused, d)
	}
}

// raiseAlert raises one alert of a settlement that the store refuses.
func (t *settler) raiseAlert(d *settled, cause error) {
	if d.alerted {
		return
	}
	d.alerted = true
	class, _ := fate.Of(cause)
	a := alert.Alert{
		Kind: alert.StoreRefuses, Source: d.key.Source, Entity: d.key.String(), Class: class.String(),
		Reason: fmt.Sprintf("settlement of %d events: %s", len(d.list), firstLine(short(cause))),
	}
	if len(d.list) > 0 {
		a.Event = d.list[0].EventID
	}
	t.w.Alerts.Raise(a)
}

// sameEntity reports whether two settlements are of one entity.
func (d settled) sameEntity(o settled) bool { return d.key == o.key && d.shard == o.shard }

// ours returns the settlements of shards that are surely still ours. Those of others
// are settled by their new owners.
func ours(batch []settled) []settled {
	return slices.DeleteFunc(batch, func(d settled) bool { return d.shard.ctx.Err() != nil || !d.shard.ours() })
}

// errLost ends the wait for the store: a shard was lost meanwhile.
var errLost = errors.New("a shard was lost while the store was away")

// write writes settlements together, however long the store is away. It is errLost
// if one of their shards is not surely ours any more: a settlement that came after
// the next owner's would be out of order.
func (t *settler) write(ctx context.Context, loop *telemetry.Loop, batch []settled) error {
	n := 0
	for i := range batch {
		n += len(batch[i].list)
	}
	list := make([]storage.Settlement, 0, n)
	repairs := map[bool][]string{}
	for _, d := range batch {
		list = append(list, d.list...)
		repairs[d.repaired] = append(repairs[d.repaired], d.repairs...)
	}
	if len(list) > 0 {
		err := t.w.persist(ctx, loop, "settle events", func() error {
			if len(ours(slices.Clone(batch))) < len(batch) {
				return errLost
			}
			return t.w.Store.Settle(ctx, list)
		})
		if err != nil {
			return err
		}
	}
	// What failed first: the same one may be in both, and then it is repaired.
	for _, ok := range []bool{false, true} {
		if err := t.w.repair(ctx, loop, repairs[ok], ok); err != nil {
			return err
		}
	}
	return nil
}

// repair stores how the repair of discrepancies ended.
func (w *Worker) repair(ctx context.Context, loop *telemetry.Loop, ids []string, ok bool) error {
	if len(ids) == 0 {
		return nil
	}
	return w.persist(ctx, loop, "note repairs", func() error { return w.Store.Repair(ctx, ids, ok, w.Now().UTC()) })
}

// settle queues what a sync has settled. The caller holds s.mu.
func (m *machine) settle(r *run, e entity.Settle) {
	countOutcomes(m.s.w, e)
	r.trace.covered(m.s, e)
	m.s.w.settler.add(settled{
		shard: m.s, key: e.Key, list: e.Outcomes, repairs: e.Repaired, repaired: e.Taken, alerted: e.Alerted,
		after: func() {
			fault.Point("after-settle")
			m.step(entity.Settled{Sync: e.Sync})
		},
		refused: func() bool {
			m.step(entity.Settled{Sync: e.Sync, Refused: true})
			return !e.Waited
		},
	})
}

// countOutcomes counts what is settled in the metrics.
func countOutcomes(w *Worker, e entity.Settle) {
	m, source := w.Metrics, e.Key.Source
	for i := range e.Outcomes {
		if e.Outcomes[i].OutOfOrder {
			m.OutOfOrder.WithLabelValues(source).Inc()
		}
		if e.Outcomes[i].Overtaken {
			m.Overtaken.WithLabelValues(source).Inc()
		}
	}
	for i := range e.Batch {
		if sig := &e.Batch[i].Signal; sig.Body != nil {
			m.ObserveEventToMirror(source, w.Now().Sub(sig.Body.ReceivedAt), sig.Trace)
		}
	}
	n := float64(len(e.Outcomes))
	m.Settled.WithLabelValues(source).Add(n)
	if n > 1 {
		m.Coalesced.WithLabelValues(source).Add(n - 1)
	}
}
