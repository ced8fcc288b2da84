package worker

import (
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker/entity"
)

// spillAtOnce is how many lanes are spilled before the shard reads again.
const spillAtOnce = 256

// spill makes room when too much of a source is in flight. Lanes of the shard that
// wait for budget are parked with all their entries, due at once and uncharged.
// Entries that come later for their entities are moved behind them. It reports
// whether there were any such lanes.
//
// Lanes of the background are not spilled; the background stops being read instead.
func (r *intake) spill(src *source) bool {
	r.enter()
	defer r.leave()
	r.step(entity.Spill{Source: src.Name, Most: spillAtOnce})
	r.mu.Lock()
	lanes := r.spilled
	r.spilled = nil
	r.mu.Unlock()
	for _, p := range lanes {
		r.loop.Turn()
		if err := r.parked.park(r.loop, stream.Park{Key: p.Lane.Key, Waiting: p.Waiting, Spilled: true}); err != nil {
			return false // the shard is not ours any more; its entries are its next owner's
		}
		fault.Point("after-spill")
		r.letGo(src, p.Waiting, nil)
		r.w.Metrics.Spilled.WithLabelValues(src.Name).Add(float64(len(p.Waiting)))
	}
	return len(lanes) > 0
}

// parkBehind moves entries behind their parked entities; those whose entity
// was un-parked meanwhile go to their lanes.
func (r *intake) parkBehind(src *source, entries []event.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	var free []event.Entry
	err := r.insist(r.ctx, r.loop, "move entries behind their parked entity", func() (err error) {
		free, err = r.lease.ParkBehind(r.ctx, entries)
		return err
	})
	if err != nil {
		return err
	}
	r.letGo(src, entries, free)
	r.step(entity.Route{Entries: free})
	return nil
}
