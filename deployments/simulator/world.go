package simulator

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// world is everything the provider knows: entities with their versions, and
// the events made of their changes. Readers take mu shared; a change holds it
// alone from its first look to its line in the journal.
type world struct {
	dialect  *dialect
	mu       sync.RWMutex
	clock    func() time.Time
	rng      *rand.Rand
	journal  *journal
	bounds   bounds
	last     time.Time // newest timestamp given out
	seq      int64     // number of the newest version
	eventSeq int64     // number of the newest event
	entities map[entityKey]*entity
	lists    map[listKey][]*entity // under one parent, oldest first
	open     []*entity             // those with a stage: something is next for them
	events   []*notice             // oldest first; the oldest are let go
	hooks    []*hook
	tidyAt   int64 // journal length below which it is not worth a look
	load     loadState
	writes   []*WriteFacts    // requests that were to change something, oldest first
	writeSeq int64            // number of the newest
	keys     map[string]*kept // by keyName
	// publish hands new events on, oldest first. Called under mu so that the
	// sender starts them in the order of the world.
	publish func([]*notice)
}

// bounds keep the memory of a world that is never stopped finite.
type bounds struct {
	versions int   // kept per entity
	events   int   // kept once they are settled
	entities int   // no new ones beyond
	journal  int64 // bytes, from which on it may be rewritten
}

type entityKey struct{ kind, id string }

type listKey struct{ kind, parent string }

// entity is one thing at the provider.
type entity struct {
	kind  *kind
	id    string
	links map[string]string // ids it belongs to, by kind: for paths and contexts
	// stage says what is next for it, "" nothing. Not part of its state.
	stage    string
	openAt   int       // its place in world.open while it has a stage
	listed   string    // the parent whose list has it
	versions []version // oldest kept first, never empty
	born     time.Time // of its first version
}

// version is one state of an entity. State is never written to again.
type version struct {
	N       int
	Seq     int64
	At      time.Time
	Deleted bool
	State   json.RawMessage
}

func newWorld(d *dialect, clock func() time.Time, seed uint64, b bounds) *world {
	return &world{
		dialect: d, clock: clock, bounds: b,
		rng:      rand.New(rand.NewPCG(seed, 0)),
		entities: map[entityKey]*entity{},
		lists:    map[listKey][]*entity{},
		keys:     map[string]*kept{},
		publish:  func([]*notice) {},
	}
}

// current is the newest version.
func (e *entity) current() *version { return &e.versions[len(e.versions)-1] }

// asOf is the version that was current at t, or the oldest kept.
func (e *entity) asOf(t time.Time) *version {
	for i := len(e.versions) - 1; i > 0; i-- {
		if !e.versions[i].At.After(t) {
			return &e.versions[i]
		}
	}
	return &e.versions[0]
}

// parent is the id its path goes through.
func (e *entity) parent() string { return e.links[e.kind.parent] }

// listUnder names the list that has it: that of its parent or, of what is in no path, that
// of the connected account it belongs to.
func (e *entity) listUnder() string {
	if e.kind.parent != "" {
		return e.parent()
	}
	return e.links[connected]
}

// link is the id it has or belongs to under a word of contexts.
func (e *entity) link(word string) string {
	if word == e.kind.word() {
		return e.id
	}
	return e.links[word]
}

// find returns an entity, or nil.
func (w *world) find(kind, id string) *entity { return w.entities[entityKey{kind, id}] }

// under returns the entities of a kind under a parent, oldest first.
func (w *world) under(kind, parent string) []*entity { return w.lists[listKey{kind, parent}] }

// tick returns a time that no other tick has, in whole microseconds: that is
// all a timestamp of the provider can hold, so a reader could not distinguish
// equal ticks.
func (w *world) tick() time.Time {
	now := w.clock().UTC().Truncate(time.Microsecond)
	if !now.After(w.last) {
		now = w.last.Add(time.Microsecond)
	}
	w.last = now
	return now
}

func (w *world) newID(kind string) string {
	return fmt.Sprintf("%s%016x%016x", w.dialect.kind(kind).prefix, w.rng.Uint64(), w.rng.Uint64())
}

// put makes a version current, and the entity known if it is new.
func (w *world) put(e *entity, v version) {
	e.versions = append(e.versions, v)
	if drop := len(e.versions) - w.bounds.versions; w.bounds.versions > 0 && drop > 0 {
		e.versions = append([]version(nil), e.versions[drop:]...)
	}
	w.seq = max(w.seq, v.Seq)
	if v.At.After(w.last) {
		w.last = v.At
	}
	k := entityKey{e.kind.name, e.id}
	if w.entities[k] != nil {
		return
	}
	w.entities[k] = e
	e.openAt, e.born = -1, v.At
	w.list(e)
}

// setStage says what is next for an entity, and keeps world.open in step.
func (w *world) setStage(e *entity, stage string) {
	e.stage = stage
	isOpen := e.openAt >= 0
	switch {
	case stage != "" && !isOpen:
		e.openAt = len(w.open)
		w.open = append(w.open, e)
	case stage == "" && isOpen:
		last := w.open[len(w.open)-1]
		w.open[e.openAt], last.openAt = last, e.openAt
		w.open = w.open[:len(w.open)-1]
		e.openAt = -1
	}
}

// addEvents appends events, which pushes old ones out.
func (w *world) addEvents(ns []*notice) {
	for _, n := range ns {
		w.eventSeq = max(w.eventSeq, n.Seq)
		if n.CreatedAt.After(w.last) {
			w.last = n.CreatedAt
		}
	}
	w.events = append(w.events, ns...)
	w.forgetEvents()
}

// forgetEvents lets go of the oldest settled events beyond the bound.
func (w *world) forgetEvents() {
	if w.bounds.events <= 0 {
		return
	}
	drop := 0
	for drop < len(w.events)-w.bounds.events && w.events[drop].settled.Load() {
		w.events[drop] = nil
		drop++
	}
	w.events = w.events[drop:]
}
