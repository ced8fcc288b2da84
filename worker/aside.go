package worker

import (
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/worker/entity"
)

// asideAtOnce is how many lanes are set aside before the shard looks round.
const asideAtOnce = 256

// setAside makes room when as much of a source is in hand as may be: lanes of
// the shard that wait for budget are parked with all that is in them, due at
// once and uncharged, and what comes later for their entities is moved behind
// them. It reports whether there were any.
//
// Lanes of the background stay in hand, and so it stops being read.
func (s *shard) setAside(loop *telemetry.Loop, src *source) bool {
	s.enter(loop)
	defer s.leave()
	s.step(entity.Spill{Source: src.Name, Most: asideAtOnce})
	s.mu.Lock()
	lanes := s.spilled
	s.spilled = nil
	s.mu.Unlock()
	for _, p := range lanes {
		loop.Turn()
		if err := s.park(loop, stream.Park{Key: p.Lane.Key, Waiting: p.Waiting}); err != nil {
			return false // the shard is not ours any more; its entries are its next owner's
		}
		fault.Point("after-set-aside")
		s.letGo(src, p.Waiting, nil)
		s.w.Metrics.SetAside.WithLabelValues(src.Name).Add(float64(len(p.Waiting)))
	}
	return len(lanes) > 0
}

// park has an entity parked, however long Redis is away; an error says that
// the shard is not ours any more. The caller holds the gate, so nothing of the
// entity is read, tried or moved between two pages.
func (s *shard) park(loop *telemetry.Loop, p stream.Park) error {
	return s.insist(s.ctx, loop, "park an entity", func() error { return s.lease.Park(s.ctx, p) })
}
