package worker

import (
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/worker/entity"
)

// spillAtOnce is how many lanes are spilled before the shard looks round.
const spillAtOnce = 256

// spill makes room when as much of a source is in flight as may be: lanes of
// the shard that wait for budget are parked with all that is in them, due at
// once and uncharged, and what comes later for their entities is moved behind
// them. It reports whether there were any.
//
// Lanes of the background stay in flight, and so it stops being read.
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
		if err := r.parked.park(r.loop, stream.Park{Key: p.Lane.Key, Waiting: p.Waiting}); err != nil {
			return false // the shard is not ours any more; its entries are its next owner's
		}
		fault.Point("after-set-aside")
		r.letGo(src, p.Waiting, nil)
		r.w.Metrics.Spilled.WithLabelValues(src.Name).Add(float64(len(p.Waiting)))
	}
	return len(lanes) > 0
}

// park has an entity parked, however long Redis is away; an error says that
// the shard is not ours any more. The caller holds the gate, so nothing of the
// entity is read, tried or moved between two pages.
func (s parkedList) park(loop *telemetry.Loop, p stream.Park) error {
	return s.insist(s.ctx, loop, "park an entity", func() error { return s.lease.Park(s.ctx, p) })
}
