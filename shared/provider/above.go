package provider

import (
	"maps"

	"github.com/tarn-sync/tarn/shared/event"
)

// Above returns the entities that an entity is under, as far as its reference names them:
// those of its parents that have a GET of their own, its scope among them, and what a
// singleton or list is of.
func (d *Definition) Above(ref event.Ref) []event.Key {
	ids := ref.Parents
	if k := d.Kind(ref.Key.Kind); k != nil {
		if set, ok := k.ParentsIn(ref.Key); ok && len(set) > 0 {
			ids = set
		}
		if k.Shape != ShapeEntity && k.IDKey != "" {
			ids = maps.Clone(ids)
			if ids == nil {
				ids = map[string]string{}
			}
			ids[k.IDKey] = ref.Key.ID
		}
	}
	var above []event.Key
	for name, id := range ids {
		if of := d.ownKind(name); of != nil {
			above = append(above, of.Ref(ref.Key.Source, id, ids).Key)
		}
	}
	return above
}

// Beneath returns the kinds whose entities are under one of a kind: those that have it as a
// parent, by the name of Kind.IDKey, and those of which it has one, whose id is its own.
func (d *Definition) Beneath(k *Kind) (parented, lent []*Kind) {
	if k == nil || k.Shape != ShapeEntity || k.IDKey == "" || d.ownKind(k.IDKey) != k {
		return nil, nil
	}
	for _, under := range d.kinds {
		switch {
		case under.HasParent(k.IDKey):
			parented = append(parented, under)
		case under.Shape != ShapeEntity && under.IDKey == k.IDKey:
			lent = append(lent, under)
		}
	}
	return parented, lent
}
