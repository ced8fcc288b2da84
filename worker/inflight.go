package worker

import (
	"sync/atomic"

	"github.com/tarn-sync/tarn/shared/event"
)

// handle names an entry among all of a shard's streams.
type handle struct {
	source string
	tier   event.Tier
	id     string
}

// inFlight are the entries of a shard that were read and not yet acked or parked.
// The shard's mu guards it.
type inFlight struct {
	s       *shard
	entries map[handle]bool
}

// hold adds entries and returns those that were not in flight already.
func (f *inFlight) hold(source string, entries []event.Entry) []event.Entry {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	if f.s.ctx.Err() != nil {
		return nil // the shard was lost while they were read, and what it had is dropped
	}
	fresh := entries[:0]
	for _, e := range entries {
		h := handle{source, e.Tier, e.ID}
		if f.entries[h] {
			continue
		}
		f.entries[h] = true
		f.s.w.sources[source].inFlight(e.Tier).Add(1)
		fresh = append(fresh, e)
	}
	return fresh
}

// release removes entries that are no longer pending in Redis.
func (f *inFlight) release(source string, tier event.Tier, ids []string) {
	f.s.mu.Lock()
	n := 0
	for _, id := range ids {
		h := handle{source, tier, id}
		if f.entries[h] {
			delete(f.entries, h)
			n++
		}
	}
	f.s.mu.Unlock()
	f.s.w.sources[source].inFlight(tier).Add(int64(-n))
	f.s.nudge()
}

// letGo removes entries, except those that are kept.
func (f *inFlight) letGo(src *source, entries, kept []event.Entry) {
	keep := map[handle]bool{}
	for _, e := range kept {
		keep[handle{src.Name, e.Tier, e.ID}] = true
	}
	for _, e := range entries {
		if !keep[handle{src.Name, e.Tier, e.ID}] {
			f.release(src.Name, e.Tier, []string{e.ID})
		}
	}
}

// drop removes all entries.
func (f *inFlight) drop() {
	for h := range f.entries {
		f.s.w.sources[h.source].inFlight(h.tier).Add(-1)
	}
	f.entries = map[handle]bool{}
}

// inFlight returns the count of a tier's entries that are in flight.
func (s *source) inFlight(t event.Tier) *atomic.Int64 {
	if t == event.TierLive {
		return &s.live
	}
	return &s.background
}
