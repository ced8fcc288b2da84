package worker

import (
	"strconv"
	"sync"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// acker removes settled entries of one shard from Redis: entries that
// arrive while a call is under way go in the next one.
type acker struct {
	s      *shard
	mu     sync.Mutex
	groups map[streamName]*ackGroup
	added  chan struct{}
}

type streamName struct {
	source string
	tier   event.Tier
}

type ackGroup struct {
	ids    []string
	events []string
	hints  []stream.Hint
	after  []func()
}

func newAcker(s *shard) *acker {
	return &acker{s: s, groups: map[streamName]*ackGroup{}, added: make(chan struct{}, 1)}
}

// add queues entries whose outcome the store holds. hints are what the change feed may
// lack of their entities. after, if not nil, is called once they are acked, or will
// never be by us.
func (a *acker) add(source string, entries []event.Entry, hints []stream.Hint, after func()) {
	if len(entries) == 0 {
		if after != nil {
			after()
		}
		return
	}
	a.mu.Lock()
	for _, e := range entries {
		n := streamName{source, e.Tier}
		g := a.groups[n]
		if g == nil {
			g = &ackGroup{}
			a.groups[n] = g
		}
		g.ids = append(g.ids, e.ID)
		if e.Signal.Body != nil {
			g.events = append(g.events, e.Signal.CauseID)
		}
	}
	last := a.groups[streamName{source, entries[len(entries)-1].Tier}]
	last.hints = append(last.hints, hints...)
	if after != nil {
		last.after = append(last.after, after)
	}
	a.mu.Unlock()
	select {
	case a.added <- struct{}{}:
	default:
	}
}

// run acks until the shard ends.
func (a *acker) run() {
	loop := a.s.w.Health.Loop("acks " + strconv.Itoa(a.s.number))
	defer loop.Done()
	for {
		loop.Waiting("settled entries")
		select {
		case <-a.s.ctx.Done():
			return
		case <-a.added:
		}
		loop.Turn()
		a.mu.Lock()
		groups := a.groups
		a.groups = map[streamName]*ackGroup{}
		a.mu.Unlock()
		for n, g := range groups {
			a.flush(loop, n, g)
		}
	}
}

// flush acks one group, again until it is done or the shard is not ours.
func (a *acker) flush(loop *telemetry.Loop, n streamName, g *ackGroup) {
	fault.Point("before-ack")
	err := a.s.insist(a.s.ctx, loop, "ack entries", func() error {
		return a.s.lease.Ack(a.s.ctx, n.source, n.tier, g.ids, g.events, g.hints...)
	})
	if err != nil {
		return
	}
	fault.Point("after-ack")
	if len(g.hints) > 0 {
		a.s.w.bells.ring(n.source, a.s.number)
	}
	a.s.release(n.source, n.tier, g.ids)
	a.s.w.sources[n.source].turnover.settle(len(g.ids))
	for _, f := range g.after {
		f()
	}
}

// idsOf returns the stream ids of entries.
func idsOf(entries []event.Entry) []string {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.ID
	}
	return ids
}
