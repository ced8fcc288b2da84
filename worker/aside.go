package worker

import (
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// setAside makes room when as much of a source is in hand as may be: the
// shard's live lanes that wait for budget are parked with all that is in them,
// due at once and uncharged, and what comes later for their entities is moved
// behind them. It reports whether there were any. A long lane goes page by page:
// the gate is ours, so nobody begins it or moves anything behind it meanwhile.
//
// Lower classes stay in hand, and so stop being read: a shard begins few
// parked entities at a time, in the order of their due times, and live ones
// would have to wait for them.
func (s *shard) setAside(loop *telemetry.Loop, src *source) bool {
	s.enter(loop)
	defer s.gate.Unlock()
	lanes := s.takeReady(src)
	for _, ln := range lanes {
		loop.Turn()
		for entries := range slices.Chunk(ln.queue, page) {
			if err := s.park(loop, stream.Park{Key: ln.key, Waiting: entries}); err != nil {
				return false // the shard is not ours any more; its entries are its next owner's
			}
			fault.Point("after-set-aside")
			s.letGo(src, entries, nil)
			s.w.Metrics.SetAside.WithLabelValues(src.Name).Add(float64(len(entries)))
		}
	}
	return len(lanes) > 0
}

// takeReady ends the source's live lanes that are ready and returns them in the
// order of their turns. One whose reads lag stays: it would forget how often it
// was asked for.
func (s *shard) takeReady(src *source) (lanes []*lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, ln := range s.lanes {
		if ln.src == src && ln.class == event.Live && !ln.retry && ln.lag == 0 && src.ready.remove(ln) {
			delete(s.lanes, id)
			lanes = append(lanes, ln)
		}
	}
	slices.SortFunc(lanes, func(a, b *lane) int { return a.turn.compare(b.turn) })
	return lanes
}

// park has an entity parked, however long Redis is away; an error says that
// the shard is not ours any more. The caller holds the gate.
func (s *shard) park(loop *telemetry.Loop, p stream.Park) error {
	for {
		err := s.lease.Park(s.ctx, p)
		if err == nil {
			return nil
		}
		if loop != nil {
			loop.Waiting("redis")
		}
		if s.lost(err) || !sleep(s.ctx, 200*time.Millisecond) {
			return err
		}
		s.log.Warn("could not park an entity; trying again", "entity", p.Key.String(), "error", err)
	}
}
