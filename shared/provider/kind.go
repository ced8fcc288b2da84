package provider

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider/internal/rawjson"
)

// Shape is how an entity of a kind is read.
type Shape string

// The shapes.
const (
	// ShapeEntity has an id and a GET of its own.
	ShapeEntity Shape = "entity"
	// ShapeSingleton is one GET per parent; its id is the parent's.
	ShapeSingleton Shape = "singleton"
	// ShapeList is all pages of a list under a parent, as one JSON array; its
	// id is the parent's. A list under no parent has the id RootID.
	ShapeList Shape = "list"
)

// RootID is the id of a list or singleton without parents.
const RootID = "all"

// Kind is one kind of entity.
type Kind struct {
	// Name is the kind's name: "order".
	Name string
	// Shape is how an entity of the kind is read.
	Shape Shape
	// IDKey is the context key that holds the id of an entity of this kind:
	// "update" for person_update; for a singleton or list its parent's,
	// "account". Empty if the kind has no parents.
	IDKey string
	// ParentKeys are the context keys, and keys of event.Ref.Parents, that a request
	// for one entity needs besides, in its path or its parameters: ["account"]. Nil if
	// none. A list of entities may need more: see Definition.Under.
	ParentKeys []string
	// ElementKey is the context key that holds the id of an element of a list,
	// where its elements are the parents of other kinds and these have no GET of their
	// own: "settlement_account". Empty if none do.
	ElementKey string
	// PartialElements reports whether the elements of the kind's list show less
	// than its GET answers. Default false: both show the whole state.
	PartialElements bool
	// Qualified: the ids of the kind are unique under their parents only, so these
	// qualify the keys of its entities.
	Qualified bool
	// Every is how often at most a derived kind is refreshed. Zero: the kind
	// is not derived.
	Every time.Duration
	// ReadLag and VerifyAfter: a kind whose state proves nothing about an event
	// (no history), fetched within ReadLag of the event, is fetched once more
	// after VerifyAfter. Zero VerifyAfter: it is not.
	ReadLag, VerifyAfter time.Duration
	// GoneKnown and GoneUnknown are how long after a first 404 the provider is
	// asked again before the entity is taken for gone: if the mirror knows it,
	// and if it was never seen. Default 5 s and 10 min.
	GoneKnown, GoneUnknown time.Duration

	// get is what is asked for one entity, list for a list: of entities, or of a list
	// kind.
	get, list endpoint
	pages     *paginationSpec // of the list; nil without one
	complete  []completion    // lists inside an entity that are read to their end
	answer    rawjson.Path    // of the entity in the answer to get; nil: it is the answer
	id        rawjson.Path    // of an element of a list, and of an answer
	status    rawjson.Path    // nil: that of the newest entry of the history
	history   rawjson.Path    // nil: the kind has none
	deleted   rawjson.Path    // of the flag in the stub of a deleted entity
	proof     []rawjson.Path  // what every answer of the kind has, besides or instead of an id
	statuses  []string        // in the order an entity goes through them
	terminal  []string
	volatile  []rawjson.Path
	secret    []rawjson.Path
	unordered bool
	writing   writing // how entities are changed
	// scope is the context key of the scope that entities may be within, of a
	// definition that is Scoped. "": they are within none.
	scope string
}

// Listable reports whether the provider lists entities of the kind under
// their parents, so that they can be found without an event.
func (k *Kind) Listable() bool { return k.Shape == ShapeEntity && k.list.given() }

// ListableUnder reports whether the kind's list can be asked for with some ids: it may
// need more than the GET of one entity.
func (k *Kind) ListableUnder(ids map[string]string) bool {
	return k.Listable() && !slices.ContainsFunc(k.needs(), func(name string) bool { return event.CheckID(ids[name]) != nil })
}

// UnderKey is the context key that holds the id of what other kinds are
// under: an entity of the kind, or an element of a list. Empty if none can.
func (k *Kind) UnderKey() string {
	if k.Listable() {
		return k.IDKey
	}
	return k.ElementKey
}

// Parents returns what the paths of the kind need of some parents' ids, and the scope if
// there is one; nil if that is nothing. False: one is missing or is not allowed in a
// path, or the scope in a header, so that no request could be made.
func (k *Kind) Parents(ids map[string]string) (parents map[string]string, ok bool) {
	scope := k.scopeAmong(ids)
	if len(k.ParentKeys) == 0 && scope == "" {
		return nil, true
	}
	if scope != "" && CheckScope(scope) != nil {
		return nil, false
	}
	for _, name := range k.ParentKeys {
		if event.CheckID(ids[name]) != nil {
			return nil, false
		}
	}
	return k.pick(ids), true
}

// scopeAmong returns the scope that some parents name, "" if they name none.
func (k *Kind) scopeAmong(parents map[string]string) string {
	if k.scope == "" {
		return ""
	}
	return parents[k.scope]
}

// pick returns those of some ids that the kind has parents of.
func (k *Kind) pick(ids map[string]string) map[string]string {
	scope, n := k.scopeAmong(ids), len(k.ParentKeys)
	if scope != "" {
		n++
	}
	if len(ids) == n {
		return ids
	}
	parents := make(map[string]string, n)
	for _, name := range k.ParentKeys {
		parents[name] = ids[name]
	}
	if scope != "" {
		parents[k.scope] = scope
	}
	return parents
}

// Ref names an entity of the kind by its id and the parents its paths need. All
// references are made here, so that one entity has one key: that of a qualified
// kind has the ids of its parents, in the order of the path. Without them such a
// reference names no entity: see Definition.LacksParents. That of an entity within a
// scope has the scope.
func (k *Kind) Ref(source, id string, parents map[string]string) event.Ref {
	ref := event.Ref{Key: event.Key{Source: source, Kind: k.Name, ID: id}, Parents: parents}
	if scope := k.scopeAmong(parents); scope != "" {
		ref.Key.Under = event.Under(scope)
		return ref
	}
	if !k.Qualified {
		return ref
	}
	if _, ok := k.Parents(parents); ok {
		ids := make([]string, len(k.ParentKeys))
		for i, name := range k.ParentKeys {
			ids[i] = parents[name]
		}
		ref.Key.Under = event.Under(ids...)
	}
	return ref
}

// ParentsIn returns the parents that a qualified key names, its scope among them, and
// whether it names those that paths of the kind need.
func (k *Kind) ParentsIn(key event.Key) (map[string]string, bool) {
	if scope := k.scopeIn(key); scope != "" {
		parents := map[string]string{k.scope: scope}
		return parents, len(k.ParentKeys) == 0 && CheckScope(scope) == nil
	}
	ids, err := key.Qualifiers()
	if err != nil || !k.Qualified || len(ids) != len(k.ParentKeys) {
		return nil, false
	}
	parents := make(map[string]string, len(ids))
	for i, name := range k.ParentKeys {
		parents[name] = ids[i]
	}
	return k.Parents(parents)
}

// checkKey reports why no entity of the kind has a key of that form.
func (k *Kind) checkKey(key event.Key) error {
	if scope := k.scopeIn(key); scope != "" {
		return CheckScope(scope)
	}
	if !k.Qualified && key.Under != "" {
		return fmt.Errorf("key %s is qualified: ids of %s are unique without", key, k.Name)
	}
	if _, ok := k.ParentsIn(key); k.Qualified && !ok {
		return fmt.Errorf("key %s does not name %s: ids of %s are unique under these only", key, strings.Join(k.ParentKeys, ", "), k.Name)
	}
	return nil
}

// Unordered reports whether the order of a list's elements is no part of its
// state.
func (k *Kind) Unordered() bool { return k.unordered }

// Terminal reports whether an entity of that status never changes again.
func (k *Kind) Terminal(status string) bool { return slices.Contains(k.terminal, status) }

// Statuses returns the statuses of the kind's entities, in the order they go through them.
// None if the definition does not say.
func (k *Kind) Statuses() []string { return k.statuses }

// rank is the place of a status on the way of an entity; an unknown status,
// which the provider has added since, comes last.
func (k *Kind) rank(status string) int {
	if i := slices.Index(k.statuses, status); i >= 0 {
		return i
	}
	return len(k.statuses)
}
