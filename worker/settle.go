package worker

import (
	"context"
	"sync"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// settler writes settlements to the store, in the order the syncs ended: what
// has come together while the last write was under way goes in the next one.
type settler struct {
	w     *Worker
	mu    sync.Mutex
	queue []settled
	added chan struct{}
}

// settled is what one sync has settled. after is called when the store holds
// it.
type settled struct {
	shard *shard
	list  []mirror.Settlement
	// repairs are discrepancies, by id; repaired says how their repair ended.
	repairs  []string
	repaired bool
	after    func()
}

func newSettler(w *Worker) *settler { return &settler{w: w, added: make(chan struct{}, 1)} }

// add queues settlements.
func (t *settler) add(d settled) {
	if fault.Off("settle-order") {
		// ack before the store holds the outcome: a negative control
		d.after()
		d.after = func() {}
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
		select {
		case <-ctx.Done():
			return
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

// flush writes one batch, without what belongs to shards that are no longer
// surely ours: their new owners settle it.
func (t *settler) flush(ctx context.Context, loop *telemetry.Loop, batch []settled) {
	ours := batch[:0]
	for _, d := range batch {
		if d.shard.ctx.Err() != nil {
			continue
		}
		if d.shard.ours() {
			ours = append(ours, d)
		}
	}
	if err := t.write(ctx, loop, ours); err != nil {
		if ctx.Err() == nil {
			// Not the store being away, which is waited for: it refuses.
			// The entries stay pending, the next owner tries again.
			t.w.Logger.Error("the store refused settlements; their shards start over", "error", err)
		}
		for _, d := range ours {
			d.shard.cancel(stream.ErrFenced)
		}
		return
	}
	for _, d := range ours {
		d.after()
	}
}

func (t *settler) write(ctx context.Context, loop *telemetry.Loop, batch []settled) error {
	var list []mirror.Settlement
	repairs := map[bool][]string{}
	for _, d := range batch {
		list = append(list, d.list...)
		repairs[d.repaired] = append(repairs[d.repaired], d.repairs...)
	}
	if len(list) > 0 {
		if err := t.w.persist(ctx, loop, "settle events", func() error { return t.w.Store.Settle(ctx, list) }); err != nil {
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

// repair tells how the repair of discrepancies ended.
func (w *Worker) repair(ctx context.Context, loop *telemetry.Loop, ids []string, ok bool) error {
	if len(ids) == 0 {
		return nil
	}
	return w.persist(ctx, loop, "note repairs", func() error { return w.Store.Repair(ctx, ids, ok, w.Now().UTC()) })
}

// discrepancies are the ids of those that sent the entries.
func discrepancies(entries []stream.Entry) []string {
	var ids []string
	for _, e := range entries {
		if e.Signal.Cause == event.CauseDiscrepancy {
			ids = append(ids, e.Signal.CauseID)
		}
	}
	return ids
}
