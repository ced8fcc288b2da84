package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
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
	defer s.gate.Unlock()
	lanes := s.takeReady(src)
	for _, ln := range lanes {
		loop.Turn()
		if err := s.park(loop, stream.Park{Key: ln.key, Waiting: ln.queue}); err != nil {
			return false // the shard is not ours any more; its entries are its next owner's
		}
		fault.Point("after-set-aside")
		s.letGo(src, ln.queue, nil)
		s.w.Metrics.SetAside.WithLabelValues(src.Name).Add(float64(len(ln.queue)))
	}
	return len(lanes) > 0
}

// takeReady ends those of the source's lanes that are to be set aside, and
// returns them in the order of their turns: ready ones whose turn comes last. One
// stays whose reads lag, since it would forget how often it was asked for, and
// one whose head is not settled.
func (s *shard) takeReady(src *source) []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	var may, taken []*lane
	for _, ln := range s.lanes {
		if ln.src == src && ln.class.Tier() == event.TierLive && ln.state == laneReady && !ln.retry &&
			ln.lag == 0 && s.heads[ln.key] == nil {
			may = append(may, ln)
		}
	}
	src.ready.inOrder(may)
	for _, ln := range may[max(0, len(may)-asideAtOnce):] {
		if src.ready.remove(ln) { // else it is being started
			delete(s.lanes, ln.id)
			taken = append(taken, ln)
		}
	}
	return taken
}

// park has an entity parked, however long Redis is away; an error says that
// the shard is not ours any more. The caller holds the gate, so nothing of the
// entity is read, tried or moved between two pages.
func (s *shard) park(loop *telemetry.Loop, p stream.Park) error {
	for {
		err := s.lease.Park(s.ctx, p)
		if err == nil {
			return nil
		}
		if loop != nil {
			loop.Waiting("redis")
		}
		if s.lost(err) || !loops.Sleep(s.ctx, 200*time.Millisecond) {
			return err
		}
		s.log.Warn("could not park an entity; trying again", "entity", p.Key.String(), "error", err)
	}
}
