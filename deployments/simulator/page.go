package simulator

import (
	"encoding/json"
	"net/http"
	"sort"
	"time"
)

// maxLimit is the largest page.
const maxLimit = 100

// elements gives one element of a list after the other with its place, from which
// later pages go on; ok is false at the end. Places never change, so pages are
// stable while the world goes on.
type elements func() (element json.RawMessage, place int64, ok bool)

// take takes up to limit elements. last is the place of the last one, and more
// says whether others follow it.
func (next elements) take(limit int) (all []json.RawMessage, last int64, more bool) {
	all = []json.RawMessage{}
	for {
		element, place, ok := next()
		if !ok || len(all) == limit {
			return all, last, ok
		}
		all, last = append(all, element), place
	}
}

// newestFirst gives the entities of a list that are there and pass, after a place;
// 0 is the start. An entity created between two pages comes before both.
func newestFirst(list []*entity, after int64, passes func(*entity) bool, show func(*entity) json.RawMessage) elements {
	i := len(list)
	if after > 0 {
		i = min(i, int(after)-1)
	}
	return func() (json.RawMessage, int64, bool) {
		for i--; i >= 0; i-- {
			if e := list[i]; !e.current().Deleted && passes(e) {
				return show(e), int64(i) + 1, true
			}
		}
		return nil, 0, false
	}
}

// inOrder gives the elements of an array after a place; 0 is the start.
func inOrder(all []json.RawMessage, after int64) elements {
	i := int(after)
	return func() (json.RawMessage, int64, bool) {
		if i < 0 || i >= len(all) {
			return nil, 0, false
		}
		i++
		return all[i-1], int64(i), true
	}
}

// eventQuery is which events are asked for, and in which order. Their places are
// their numbers, which stay although the oldest are let go.
type eventQuery struct {
	since       time.Time
	oldestFirst bool
	after       int64 // 0: from the start
	passes      func(*notice) bool
}

func (q eventQuery) of(events []*notice, show func(*notice) json.RawMessage) elements {
	first := sort.Search(len(events), func(i int) bool { return !events[i].CreatedAt.Before(q.since) })
	step, i := -1, len(events)
	if q.oldestFirst {
		step, i = 1, first-1
	}
	if q.after > 0 {
		at := sort.Search(len(events), func(i int) bool { return events[i].Seq >= q.after })
		if step > 0 && (at == len(events) || events[at].Seq > q.after) {
			at-- // the last one seen was let go: the next is the oldest kept
		}
		i = at
	}
	return func() (json.RawMessage, int64, bool) {
		for i += step; i >= first && i < len(events); i += step {
			if n := events[i]; q.passes(n) {
				return show(n), n.Seq, true
			}
		}
		return nil, 0, false
	}
}

// badPage refuses a page after the first while chaos does so for its list.
func (a *api) badPage(r *http.Request) error {
	c := a.chaos.now()
	dice, _ := a.chaos.spell("bad pages", r.URL.Path, c.BadPages, c.BadPagesFor, a.clock())
	if dice == nil {
		return nil
	}
	return a.dialect.badPages[dice.IntN(len(a.dialect.badPages))]
}

// endless reports whether chaos lets the last page of a list be followed by
// another.
func (a *api) endless(r *http.Request) bool {
	c := a.chaos.now()
	dice, _ := a.chaos.spell("endless", r.URL.Path, c.Endless, c.EndlessFor, a.clock())
	return dice != nil
}
