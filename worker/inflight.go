package worker

import (
	"sync/atomic"

	"github.com/tarn-sync/tarn/shared/event"
)

// inFlight are the entries of a shard that were read and not yet acked or parked, by
// their ids in each stream. The shard's mu guards it.
type inFlight struct {
	s       *shard
	entries map[streamName]map[string]struct{}
}

func newInFlight(s *shard) inFlight {
	return inFlight{s, map[streamName]map[string]struct{}{}}
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
		name := streamName{source, e.Tier}
		ids := f.entries[name]
		if ids == nil {
			ids = map[string]struct{}{}
			f.entries[name] = ids
		}
		if _, there := ids[e.ID]; there {
			continue
		}
		ids[e.ID] = struct{}{}
		f.s.w.sources[source].inFlight(e.Tier).Add(1)
		fresh = append(fresh, e)
	}
	return fresh
}

// release removes entries that are no longer pending in Redis.
func (f *inFlight) release(source string, tier event.Tier, released []string) {
	name, n := streamName{source, tier}, 0
	f.s.mu.Lock()
	ids := f.entries[name]
	for _, id := range released {
		if _, there := ids[id]; there {
			delete(ids, id)
			n++
		}
	}
	if len(ids) == 0 {
		delete(f.entries, name) // a map keeps the room of the most it held
	}
	f.s.mu.Unlock()
	f.s.w.sources[source].inFlight(tier).Add(int64(-n))
	f.s.nudge()
}

// letGo removes entries, except those that are kept.
func (f *inFlight) letGo(src *source, entries, kept []event.Entry) {
	type handle struct {
		tier event.Tier
		id   string
	}
	keep := map[handle]bool{}
	for _, e := range kept {
		keep[handle{e.Tier, e.ID}] = true
	}
	for _, e := range entries {
		if !keep[handle{e.Tier, e.ID}] {
			f.release(src.Name, e.Tier, []string{e.ID})
		}
	}
}

// drop removes all entries.
func (f *inFlight) drop() {
	for name, ids := range f.entries {
		f.s.w.sources[name.source].inFlight(name.tier).Add(int64(-len(ids)))
	}
	clear(f.entries)
}

// inFlight returns the count of a tier's entries that are in flight.
func (s *source) inFlight(t event.Tier) *atomic.Int64 {
	if t == event.TierLive {
		return &s.live
	}
	return &s.background
}
