package entity

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Batch accumulates what the verdict needs to know of the signals a sync covers,
// so that parked pages need not stay in memory. The zero value is empty.
type Batch struct {
	// types are those of the events, each once.
	types []typeSeen
	// newest is the event created last.
	newest storage.LastEvent
	// derived: the refresh of a derived kind is among them; verify: a second look
	// is, the earliest of those with a time before which they were not to be
	// followed at second; foreseen: a discrepancy that a sweep found is.
	derived, verify, foreseen bool
	// commands: a hint that the lane has commands is among them.
	commands bool
	second   time.Time
	// hints are the parent sets the signals name, each once, in their order.
	hints []map[string]string
}

// typeSeen is a type of events, and when the newest of them was created.
type typeSeen struct {
	name   string
	newest time.Time
}

// Add adds signals, up to the first that names one parent set more than a sync asks,
// and returns how many it added.
func (b *Batch) Add(kind *provider.Kind, entries []event.Entry) int {
	for i := range entries {
		s := &entries[i].Signal
		if set, ok := hinted(kind, s.Ref.Parents); ok && !among(b.hints, set) {
			if len(b.hints) == mostHints {
				return i
			}
			b.hints = append(b.hints, set)
		}
		b.add(s)
	}
	return len(entries)
}

func (b *Batch) add(s *event.Signal) {
	switch s.Cause {
	case event.CauseEvent:
		b.seen(s.EventType, s.CreatedAt)
		if s.CreatedAt.After(b.newest.CreatedAt) || b.newest.ID == "" {
			b.newest = storage.LastEvent{ID: s.CauseID, Type: s.EventType, CreatedAt: s.CreatedAt}
		}
	case event.CauseDerived:
		b.derived = true
	case event.CauseDiscrepancy:
		b.foreseen = true
	case event.CauseCommand:
		b.commands = true
	case event.CauseVerify:
		b.verify = true
		if at := s.NotBefore; !at.IsZero() && (b.second.IsZero() || at.Before(b.second)) {
			b.second = at
		}
	}
}

// seen adds an event's type.
func (b *Batch) seen(name string, created time.Time) {
	for i := range b.types {
		if t := &b.types[i]; t.name == name {
			if created.After(t.newest) {
				t.newest = created
			}
			return
		}
	}
	b.types = append(b.types, typeSeen{name, created})
}

// forget returns the causes of which further signals are let in again before the
// claim: changes they announce from now on may come too late for this fetch.
func (b *Batch) forget() (causes []event.Cause) {
	if b.derived {
		causes = append(causes, event.CauseDerived)
	}
	if b.verify {
		causes = append(causes, event.CauseVerify)
	}
	return causes
}

// discrepancies are the ids of those that sent the entries.
func discrepancies(entries []event.Entry) []string {
	var ids []string
	for _, e := range entries {
		if e.Signal.Cause == event.CauseDiscrepancy {
			ids = append(ids, e.Signal.CauseID)
		}
	}
	return ids
}
