package worker

import (
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
)

// gist is what a verdict needs to know of the signals it is on, however many
// they are and wherever they wait.
type gist struct {
	// types are those of the events, each once.
	types []string
	// newest is the event created last.
	newest mirror.LastEvent
	// derived: the refresh of a derived kind is among them; verify: a second look
	// is, the earliest of them that was to wait meant for the time second.
	derived, verify bool
	second          time.Time
	// hints are the parent sets the signals name, each once, in their order.
	hints []map[string]string
}

// add takes in signals, up to the first that names one parent set more than a
// sync asks, and returns how many it took.
func (g *gist) add(kind *provider.Kind, entries []stream.Entry) int {
	for i := range entries {
		s := &entries[i].Signal
		if set, ok := hinted(kind, s.Ref.Parents); ok && !among(g.hints, set) {
			if len(g.hints) == mostHints {
				return i
			}
			g.hints = append(g.hints, set)
		}
		switch s.Cause {
		case event.CauseEvent:
			if !slices.Contains(g.types, s.EventType) {
				g.types = append(g.types, s.EventType)
			}
			if s.CreatedAt.After(g.newest.CreatedAt) || g.newest.ID == "" {
				g.newest = mirror.LastEvent{ID: s.CauseID, Type: s.EventType, CreatedAt: s.CreatedAt}
			}
		case event.CauseDerived:
			g.derived = true
		case event.CauseVerify:
			g.verify = true
			if at := s.NotBefore; !at.IsZero() && (g.second.IsZero() || at.Before(g.second)) {
				g.second = at
			}
		}
	}
	return len(entries)
}
