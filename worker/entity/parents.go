package entity

import (
	"maps"
	"slices"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
)

// Many paths need more than an entity's id: the account an order is under.
// A signal brings such parents as a hint, and a hint may be wrong or late. The
// parents under which a fetch succeeded are a fact.
//
// So an entity that was ever fetched is asked for under the parents of that fetch.
// A success there covers every signal, whatever it names; an event that names
// others says so on its row (parents_differ). Only if the provider has no such
// entity there (it is gone, or refused though the provider accepts us) is each
// other parent set asked that the batch names. The first success moves the entity.
// Only if all say that it is gone may it become a tombstone. If they disagree,
// the attempt has failed.
//
// The parents in a qualified key (see event.Key) are no hint: such an entity is
// asked for under these alone.

// mostHints is how many different parent sets the signals of one sync may name.
// Further ones wait for the next sync of the lane. With those the document has,
// a sync asks for the entity under at most mostHints+1 parent sets.
const mostHints = 8

// hinted returns the parents a signal names, as the kind needs them. False: the
// entity could not be asked for under them.
func hinted(kind *provider.Kind, named map[string]string) (set map[string]string, ok bool) {
	if kind == nil {
		return nil, false
	}
	return kind.Parents(named)
}

// qualifiers returns the parents that are part of a key: such an entity stands
// under no others.
func qualifiers(kind *provider.Kind, k event.Key) (set map[string]string, ok bool) {
	if kind == nil || k.Under == "" {
		return nil, false
	}
	return kind.ParentsIn(k)
}

func among(sets []map[string]string, set map[string]string) bool {
	return slices.ContainsFunc(sets, func(s map[string]string) bool { return maps.Equal(s, set) })
}
