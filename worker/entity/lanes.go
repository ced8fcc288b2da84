package entity

import (
	"hash/maphash"
	"iter"
)

// lanes are the lanes of a shard by their IDs. There may be as many as there are
// entries in flight. A map with IDs as its keys would hold each a second time, in slots
// that it makes for twice as many, so this one has hashes as its keys.
type lanes struct {
	hash func(ID) uint64
	// first are the lanes by hash; a lane's next has the same.
	first map[uint64]*lane
	n     int
}

func newLanes() lanes {
	seed := maphash.MakeSeed()
	return lanes{hash: func(id ID) uint64 { return maphash.Comparable(seed, id) }, first: map[uint64]*lane{}}
}

// get returns a lane, nil if there is none.
func (t *lanes) get(id ID) *lane {
	l := t.first[t.hash(id)]
	for l != nil && l.id != id {
		l = l.next
	}
	return l
}

// add adds a lane whose ID is not there.
func (t *lanes) add(l *lane) {
	h := t.hash(l.id)
	l.next = t.first[h]
	t.first[h] = l
	t.n++
}

// remove removes a lane that is there.
func (t *lanes) remove(l *lane) {
	h := t.hash(l.id)
	at := t.first[h]
	switch {
	case at != l:
		for at.next != l {
			at = at.next
		}
		at.next = l.next
	case l.next == nil:
		delete(t.first, h)
	default:
		t.first[h] = l.next
	}
	l.next = nil
	t.n--
}

// all are the lanes in no order.
func (t *lanes) all() iter.Seq[*lane] {
	return func(yield func(*lane) bool) {
		for _, l := range t.first {
			for ; l != nil; l = l.next {
				if !yield(l) {
					return
				}
			}
		}
	}
}
