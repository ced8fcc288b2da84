package erased

import (
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Set is the list of what was erased, as it was at one time. It never changes. The zero Set
// is empty.
type Set struct {
	by map[event.Key]storage.Erasure
	// below counts those that were erased with all that is under them.
	below int
}

// NewSet returns the set of a list.
func NewSet(list []storage.Erasure) *Set {
	s := &Set{by: make(map[event.Key]storage.Erasure, len(list))}
	for _, e := range list {
		s.by[e.Key] = e
		if e.Below {
			s.below++
		}
	}
	return s
}

// Empty reports whether nothing was erased.
func (s *Set) Empty() bool { return len(s.by) == 0 }

// Marker returns the marker that an entity is to have: its own, if it is in the list, or
// that of one erased with the first entity above it that was erased with all that is under
// it. Nil: it is not erased, as far as the list says.
func (s *Set) Marker(d *provider.Definition, ref event.Ref) *storage.Marker {
	if len(s.by) == 0 {
		return nil
	}
	if own, is := s.by[ref.Key]; is {
		m := own.Marker
		return &m
	}
	return s.Over(d, ref)
}

// Over returns the marker that an entity is to have that is under one which was erased with
// all that is under it, by the parents that the reference names. Nil: it is under none.
// What was erased by itself is not asked about: its own document shows it, also when the
// list is old and it was restored since.
func (s *Set) Over(d *provider.Definition, ref event.Ref) *storage.Marker {
	if s.below == 0 {
		return nil
	}
	for _, k := range d.Above(ref) {
		if e, is := s.by[k]; is && e.Below {
			m := e.Marker
			if m.With.IsZero() {
				m.With = k
			}
			return &m
		}
	}
	return nil
}
