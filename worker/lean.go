package worker

import (
	"maps"
	"slices"
	"sync"

	"github.com/tarn-sync/tarn/shared/event"
)

// mostShared is how many texts, and how many parent sets, are shared. Beyond that
// sharing begins again.
const mostShared = 10_000

// shared holds one copy of what many entries in flight have in common: names, types of
// events and parents. Each entry is decoded by itself and has its own copies at first,
// which are most of its memory.
type shared struct {
	mu    sync.Mutex
	texts map[string]string
	sets  map[string]map[string]string
	key   []byte
}

// lean makes logged entries of a source share what they have in common.
func (c *shared) lean(source string, entries []event.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range entries {
		s := &entries[i].Signal
		if s.Ref.Key.Source == source {
			s.Ref.Key.Source = source // which was a part of a longer text
		}
		s.Ref.Key.Kind = c.text(s.Ref.Key.Kind)
		s.Cause, s.EventType = event.Cause(c.text(string(s.Cause))), c.text(s.EventType)
		s.Ref.Parents = c.parents(s.Ref.Parents)
		if b := s.Body; b != nil {
			b.Source, b.Type = s.Ref.Key.Source, s.EventType
		}
	}
}

// text returns the shared copy of a text.
func (c *shared) text(s string) string {
	if own, ok := c.texts[s]; ok {
		return own
	}
	if len(c.texts) >= mostShared || c.texts == nil {
		c.texts = map[string]string{}
	}
	c.texts[s] = s
	return s
}

// parents returns the shared copy of a parent set.
func (c *shared) parents(set map[string]string) map[string]string {
	if len(set) == 0 {
		return set
	}
	var few [4]string
	names := slices.AppendSeq(few[:0], maps.Keys(set))
	slices.Sort(names)
	c.key = c.key[:0]
	for _, name := range names {
		c.key = append(append(append(c.key, name...), 0), set[name]...)
		c.key = append(c.key, 0)
	}
	if own, ok := c.sets[string(c.key)]; ok && maps.Equal(own, set) { // a text may hold a zero byte
		return own
	}
	if len(c.sets) >= mostShared || c.sets == nil {
		c.sets = map[string]map[string]string{}
	}
	c.sets[string(c.key)] = set
	return set
}
