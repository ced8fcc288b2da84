package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
)

// batchSummary accumulates what the verdict needs from a batch, so that parked
// pages need not stay in memory.
type batchSummary struct {
	// types are those of the events, each once.
	types []typeSummary
	// newest is the event created last.
	newest mirror.LastEvent
	// derived: the refresh of a derived kind is among them; verify: a second look
	// is, the earliest of them that was to wait meant for the time second.
	derived, verify bool
	second          time.Time
	// hints are the parent sets the signals name, each once, in their order.
	hints []map[string]string
}

// typeSummary is a type of events, and when the newest of them was created.
type typeSummary struct {
	name   string
	newest time.Time
}

// seen takes in an event's type.
func (b *batchSummary) seen(name string, created time.Time) {
	for i := range b.types {
		if t := &b.types[i]; t.name == name {
			if created.After(t.newest) {
				t.newest = created
			}
			return
		}
	}
	b.types = append(b.types, typeSummary{name, created})
}

// add takes in signals, up to the first that names one parent set more than a
// sync asks, and returns how many it took.
func (b *batchSummary) add(kind *provider.Kind, entries []stream.Entry) int {
	for i := range entries {
		s := &entries[i].Signal
		if set, ok := hinted(kind, s.Ref.Parents); ok && !among(b.hints, set) {
			if len(b.hints) == mostHints {
				return i
			}
			b.hints = append(b.hints, set)
		}
		switch s.Cause {
		case event.CauseEvent:
			b.seen(s.EventType, s.CreatedAt)
			if s.CreatedAt.After(b.newest.CreatedAt) || b.newest.ID == "" {
				b.newest = mirror.LastEvent{ID: s.CauseID, Type: s.EventType, CreatedAt: s.CreatedAt}
			}
		case event.CauseDerived:
			b.derived = true
		case event.CauseVerify:
			b.verify = true
			if at := s.NotBefore; !at.IsZero() && (b.second.IsZero() || at.Before(b.second)) {
				b.second = at
			}
		}
	}
	return len(entries)
}
