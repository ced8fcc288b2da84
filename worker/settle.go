package worker

import (
	"context"
	"sync"

	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/stream"
)

// settler writes settlements to the store, in the order the syncs ended: what
// has come together while the last write was under way goes in the next one.
type settler struct {
	w     *Worker
	mu    sync.Mutex
	queue []settled
	added chan struct{}
}

// settled is one sync's settlements. after is called when the store holds
// them.
type settled struct {
	shard *shard
	list  []mirror.Settlement
	after func()
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
		t.flush(ctx, batch, func(list []mirror.Settlement) error {
			return t.w.persist(ctx, loop, "settle events", func() error { return t.w.Store.Settle(ctx, list) })
		})
	}
}

// flush writes one batch, without what belongs to shards that are no longer
// surely ours: their new owners settle it.
func (t *settler) flush(ctx context.Context, batch []settled, settle func([]mirror.Settlement) error) {
	var list []mirror.Settlement
	ours := batch[:0]
	for _, d := range batch {
		if d.shard.ctx.Err() != nil {
			continue
		}
		if !d.shard.lease.Valid() {
			d.shard.log.Warn("lost the lease: its time has run out")
			d.shard.cancel(stream.ErrFenced)
			continue
		}
		ours = append(ours, d)
		list = append(list, d.list...)
	}
	if len(list) > 0 {
		if err := settle(list); err != nil {
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
	}
	for _, d := range ours {
		d.after()
	}
}
