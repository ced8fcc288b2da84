package provider

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
)

// everyOther, in a family's touches, means every kind the context names
// that none of the others took.
const everyOther = "*"

// family has what the event types of one family share: order.created,
// order.executed … The family is the type without its last step, which
// envelope.family_at separates.
type family struct {
	touches []touch
	derived []*Kind
	// implies is, by the last step of the type, the status the event says the
	// first kind of touches has had.
	implies map[string]string
	of      *Kind // the kind whose status is implied
}

// touch is one entity a family names: the first kind of several that the
// context has the ids for. No kinds: every other kind of the context.
type touch []*Kind

// splitType cuts an event type into its family and what happened.
func (d *Definition) splitType(eventType string) (family, what string) {
	at := d.envelope.familyAt
	i := strings.LastIndex(eventType, at)
	if i < 0 {
		return eventType, ""
	}
	return eventType[:i], eventType[i+len(at):]
}

// Expects returns the status an event of that type says an entity of the kind
// has had, and whether it says any.
func (d *Definition) Expects(eventType, kind string) (status string, ok bool) {
	name, what := d.splitType(eventType)
	f := d.families[name]
	if f == nil || f.of == nil || f.of.Name != kind {
		return "", false
	}
	status, ok = f.implies[what]
	return status, ok
}

// entities returns what an event of that type and scope with the scratch's ids names, the
// primary first, and the derived entities it makes stale. unnamed: the entity
// the type is about is not among them, or nothing is. Those whose parents the
// event does not give come last and without parents: see Complete.
func (d *Definition) entities(source, eventType, scope string, s *scratch) (named, derived []event.Ref, unnamed bool) {
	f := d.familyOf(eventType)
	c := collector{source: source, ids: s.ids, refs: s.refs, scope: scope}
	missed := false // a touch has named nothing
	for i, t := range f.touches {
		if len(t) == 0 {
			c.others(d.kinds)
			missed = true
			continue
		}
		found := c.first(t)
		unnamed = unnamed || i == 0 && !found
		missed = missed || !found
	}
	unnamed = unnamed || len(c.refs) == 0
	if missed && len(s.ids) > 0 {
		c.parentless(f, d.kinds)
	}
	n := len(c.refs)
	for _, k := range f.derived {
		if ref, ok := c.ref(k); ok {
			c.refs = append(c.refs, ref)
		}
	}
	s.refs = c.refs
	named, derived = split(slices.Clone(c.refs), n)
	return named, derived, unnamed
}

// familyOf returns the family of an event type.
func (d *Definition) familyOf(eventType string) *family {
	name, _ := d.splitType(eventType)
	if f := d.families[name]; f != nil {
		return f
	}
	return d.unknown(name)
}

// NeedsParents reports whether an event names an entity whose parents it does
// not give, so that it cannot be asked for without what the mirror knows.
func (d *Definition) NeedsParents(e *event.Event) bool {
	return slices.ContainsFunc(e.Entities, d.LacksParents)
}

// LacksParents reports whether an entity could not be asked for, since its path
// needs parents and the reference has none. Of a qualified kind such a reference
// may be to any entity that has the id.
func (d *Definition) LacksParents(ref event.Ref) bool {
	k := d.Kind(ref.Key.Kind)
	if k == nil || len(k.ParentKeys) == 0 {
		return false
	}
	return len(ref.Parents) == 0 || k.Qualified && ref.Key.Under == "" || len(ref.Parents) == 1 && k.scopeAmong(ref.Parents) != ""
}

// Complete fills in the parents that an event does not name, from known. An entity
// whose parents are unknown is left out, since it could not be fetched. An entity
// of which known cannot be sure stays as it is, without parents. e.Unnamed says
// afterwards whether what its type is about is still not among them.
func (d *Definition) Complete(e *event.Event, known func(event.Key) (parents map[string]string, sure bool)) {
	unnamed := e.Unnamed
	complete := make([]event.Ref, 0, len(e.Entities))
	for _, ref := range e.Entities {
		if d.LacksParents(ref) {
			if parents, sure := known(ref.Key); sure {
				var err error
				if ref, err = d.Ref(ref.Key, parents); err != nil {
					continue // not among what is known
				}
			}
			if d.isAbout(e.Type, ref.Key.Kind) {
				unnamed = false
			}
		}
		complete = append(complete, ref)
	}
	e.Entities, e.Unnamed = complete, unnamed || len(complete) == 0
	if len(complete) == 0 && e.Note == 0 {
		e.Note = event.NamesNothing
	}
}

// isAbout reports whether an event of that type may be about an entity of the
// kind: any kind will do where the definition does not say which.
func (d *Definition) isAbout(eventType, kind string) bool {
	touches := d.familyOf(eventType).touches
	return len(touches) == 0 || len(touches[0]) == 0 || slices.Contains(touches[0], d.Kind(kind))
}

// split cuts refs in two, each nil if it is empty. One piece of memory serves
// both, but appending to the first does not write into the second.
func split(refs []event.Ref, n int) (named, derived []event.Ref) {
	if n > 0 {
		named = refs[:n:n]
	}
	if n < len(refs) {
		derived = refs[n:]
	}
	return named, derived
}

// unknown is the family of a type the definition does not know. Its own kind,
// if there is one of that name, goes first; then everything the context names.
func (d *Definition) unknown(name string) *family {
	f := &family{}
	if k := d.ownKind(name); k != nil {
		f.touches = append(f.touches, touch{k})
	}
	f.touches = append(f.touches, touch{})
	return f
}

// ownKind is the kind whose ids events carry under a name, nil if there is none.
func (d *Definition) ownKind(name string) *Kind {
	for _, k := range d.kinds {
		if k.Shape == ShapeEntity && k.IDKey == name {
			return k
		}
	}
	return nil
}

// about is the kind that events of a type are about: the first that their family
// touches or, of an unknown family, the kind of its name. Nil: it cannot be told.
func (d *Definition) about(eventType string) *Kind {
	name, _ := d.splitType(eventType)
	f := d.families[name]
	if f == nil {
		return d.ownKind(name)
	}
	if len(f.touches) == 0 || len(f.touches[0]) == 0 {
		return nil
	}
	return f.touches[0][0]
}

// collector gathers the entities of one event, each once.
type collector struct {
	source string
	ids    idSet
	refs   []event.Ref
	scope  string // "": the event is of none

	// parents are those of parentKeys, the last asked for: a map is dear, and
	// nearly all kinds have the same parent.
	parents    map[string]string
	parentKeys []string
	scoped     bool // they have the scope
}

// first names the first of the kinds that the context has the ids for, and
// reports whether there is one.
func (c *collector) first(kinds []*Kind) bool {
	return slices.ContainsFunc(kinds, c.add)
}

// parentless names, without parents, the entities of a family whose own id is
// there and no kind has taken. all are the kinds of "*".
func (c *collector) parentless(f *family, all []*Kind) {
	for _, t := range f.touches {
		kinds := []*Kind(t)
		if len(t) == 0 {
			kinds = all
		} else if slices.ContainsFunc(t, c.has) {
			continue
		}
		for _, k := range kinds {
			id := c.ids.find(k.IDKey)
			if id == nil || id.taken || k.Shape != ShapeEntity {
				continue
			}
			if _, complete := c.parentsOf(k); complete {
				continue // its family does not want it
			}
			id.taken = true
			var scope map[string]string
			if k.scope != "" && c.scope != "" {
				scope = map[string]string{k.scope: c.scope}
			}
			c.refs = append(c.refs, k.Ref(c.source, id.id, scope))
		}
	}
}

// has reports whether an entity of the kind has been named.
func (c *collector) has(k *Kind) bool {
	return slices.ContainsFunc(c.refs, func(r event.Ref) bool { return r.Key.Kind == k.Name })
}

// others names every entity kind whose id no kind before has taken. Two kinds
// may share a context key (a corporate action of an account and of an
// instrument); an id is one thing, so only the first gets it.
func (c *collector) others(kinds []*Kind) {
	for _, k := range kinds {
		// The id first: most kinds have none here.
		if id := c.ids.find(k.IDKey); id != nil && !id.taken && k.Shape == ShapeEntity {
			c.add(k)
		}
	}
}

func (c *collector) add(k *Kind) bool {
	ref, ok := c.ref(k)
	if !ok {
		return false
	}
	known := func(r event.Ref) bool { return r.Key == ref.Key }
	if !slices.ContainsFunc(c.refs, known) {
		c.refs = append(c.refs, ref)
	}
	if k.Shape == ShapeEntity {
		c.ids.find(k.IDKey).taken = true
	}
	return true
}

// ref makes the reference to the entity of this kind that the ids name. Not
// ok: they lack its id or that of a parent its path needs, so it could not be
// asked for.
func (c *collector) ref(k *Kind) (event.Ref, bool) {
	id := RootID
	if k.IDKey != "" {
		own := c.ids.find(k.IDKey)
		if own == nil {
			return event.Ref{}, false
		}
		id = own.id
	}
	parents, ok := c.parentsOf(k)
	if !ok {
		return event.Ref{}, false
	}
	return k.Ref(c.source, id, parents), true
}

// parentsOf returns the ids of the parents the kind's path needs, and the scope of
// the event if the kind is within scopes; nil if there are none. It also returns whether
// they are all there.
func (c *collector) parentsOf(k *Kind) (map[string]string, bool) {
	scoped := k.scope != "" && c.scope != ""
	if len(k.ParentKeys) == 0 && !scoped {
		return nil, true
	}
	if c.parents != nil && scoped == c.scoped && slices.Equal(k.ParentKeys, c.parentKeys) {
		return c.parents, true
	}
	parents := make(map[string]string, len(k.ParentKeys)+1)
	for _, name := range k.ParentKeys {
		parent := c.ids.find(name)
		if parent == nil {
			return nil, false
		}
		parents[name] = parent.id
	}
	if scoped {
		parents[k.scope] = c.scope
	}
	c.parents, c.parentKeys, c.scoped = parents, k.ParentKeys, scoped
	return parents, true
}

// Ref makes a reference to one entity from outside, as an operator gives it:
// only the parents its path needs are taken over. Those that a qualified key
// names need not be given. The error says which kind, id or parent cannot be
// used.
func (d *Definition) Ref(key event.Key, parents map[string]string) (event.Ref, error) {
	k := d.Kind(key.Kind)
	if k == nil {
		return event.Ref{}, fmt.Errorf("provider %s has no kind %q", d.Name, key.Kind)
	}
	if named, ok := k.ParentsIn(key); ok && len(parents) == 0 {
		parents = named
	}
	scope := k.scopeAmong(parents)
	if scope == "" {
		scope = k.scopeIn(key)
	}
	var needed map[string]string
	if len(k.ParentKeys) > 0 || scope != "" {
		needed = make(map[string]string, len(k.ParentKeys)+1)
		for _, p := range k.ParentKeys {
			needed[p] = parents[p]
		}
		if scope != "" {
			needed[k.scope] = scope
		}
	}
	ref := k.Ref(key.Source, key.ID, needed)
	if key.Under != "" && key != ref.Key {
		return ref, fmt.Errorf("key %s names other parents than those given, or none that %s has", key, k.Name)
	}
	_, err := k.path(ref)
	return ref, err
}
