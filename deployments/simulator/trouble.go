package simulator

import (
	"fmt"
	"maps"
	"net/http"
)

// Troubles names four entities that something goes wrong with on purpose, so that a
// first look at a mirror finds each kind of trouble once. Nothing is next for any of
// them: without the trouble the mirror would have them, and no later event would
// repair what is wrong.
type Troubles struct {
	// Kind is the kind of all four.
	Kind string `json:"kind"`
	// Refused is answered 422, and Failing 503, from MakeTrouble until Repair. Each
	// has changed, so that a mirror asks for it.
	Refused string `json:"refused"`
	Failing string `json:"failing"`
	// Unsent has changed, and the webhook of LostEvent, which says so, is never sent.
	Unsent    string `json:"unsent"`
	LostEvent string `json:"lost_event,omitempty"`
	// Edited changes by EditSilently, without an event.
	Edited string `json:"edited"`
}

// trouble is what goes wrong on purpose in the world of a provider.
type trouble struct {
	// kind is the kind of the entities it is about.
	kind string
	// create makes one that nothing is next for, with its events. It returns nil if
	// the world has nothing yet that it could belong to.
	create func(*change) *entity
	// move changes it, with an event, and edit without one.
	move, edit func(c *change, e *entity)
}

// NewTroubles creates the entities that go wrong later, with the events of that. ok is
// false if the world is too young for them: ask again.
func (s *Simulator) NewTroubles() (t Troubles, ok bool, err error) {
	d := &s.world.dialect.trouble
	t.Kind, ok = d.kind, true
	_, err = s.world.change(func(c *change) {
		for _, id := range []*string{&t.Refused, &t.Failing, &t.Unsent, &t.Edited} {
			e := d.create(c)
			if e == nil {
				ok = false
				return
			}
			*id = e.id
		}
	})
	return t, ok && err == nil, err
}

// MakeTrouble has the API refuse one of the entities and fail for another, changes
// both, and changes a third whose event is not sent: it returns t with that event.
func (s *Simulator) MakeTrouble(t Troubles) (Troubles, error) {
	move := s.world.dialect.trouble.move
	s.begin(t)
	for _, id := range []string{t.Refused, t.Failing} {
		if err := s.touch(t.Kind, id, move); err != nil {
			return t, err
		}
	}
	err := s.touch(t.Kind, t.Unsent, func(c *change, e *entity) {
		move(c, e)
		for _, n := range c.events {
			n.unsent, t.LostEvent = true, n.ID
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.troubles = &t
	return t, err
}

// begin has the API answer no more for two of the entities.
func (s *Simulator) begin(t Troubles) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.troubles = &t
	s.changeEntities(func(status map[string]int) {
		status[t.Kind+"/"+t.Refused] = http.StatusUnprocessableEntity
		status[t.Kind+"/"+t.Failing] = http.StatusServiceUnavailable
	})
}

// EditSilently changes an entity of t without an event.
func (s *Simulator) EditSilently(t Troubles) error {
	return s.touch(t.Kind, t.Edited, s.world.dialect.trouble.edit)
}

// touch makes one change of an entity.
func (s *Simulator) touch(kind, id string, f func(*change, *entity)) error {
	_, err := s.world.change(func(c *change) {
		e := c.w.find(kind, id)
		if e == nil {
			c.fail(fmt.Errorf("no %s %s", kind, id))
			return
		}
		f(c, e)
	})
	return err
}

// Repair has the API answer every entity of MakeTrouble again, and names those that
// it did not answer before, as kind/id.
func (s *Simulator) Repair() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	repaired := []string{}
	if s.troubles == nil {
		return repaired
	}
	s.changeEntities(func(status map[string]int) {
		for _, id := range []string{s.troubles.Refused, s.troubles.Failing} {
			name := s.troubles.Kind + "/" + id
			if status[name] != 0 {
				repaired = append(repaired, name)
				delete(status, name)
			}
		}
	})
	return repaired
}

// changeEntities changes what Chaos.Entities answers, in a copy, since readers may
// hold the old one. The caller holds mu.
func (s *Simulator) changeEntities(f func(status map[string]int)) {
	c := *s.chaos.now()
	c.Entities = maps.Clone(c.Entities)
	if c.Entities == nil {
		c.Entities = map[string]int{}
	}
	f(c.Entities)
	s.SetChaos(c)
}

func (s *Simulator) serveTroubles(*http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.troubles == nil {
		return nil, errNotFound
	}
	return *s.troubles, nil
}

func (s *Simulator) serveRepair(*http.Request) (any, error) {
	return map[string][]string{"repaired": s.Repair()}, nil
}
