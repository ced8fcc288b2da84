package simulator

import (
	"encoding/json"
	"sort"
	"time"
)

// Truth is one entity as it is now: one line of /_sim/truth.
type Truth struct {
	Kind string `json:"kind"`
	// ID is the account's for a kind of which each account has one.
	ID string `json:"id"`
	// Account is the account it belongs to, if any; its own id for accounts.
	Account string `json:"account,omitempty"`
	// Parent is the id its path goes through, if any.
	Parent string `json:"parent,omitempty"`
	// Version counts its states from 1.
	Version int `json:"version"`
	// Seq is the number of its current version among all of the world, growing:
	// what changes later has a larger one.
	Seq int64 `json:"seq"`
	// At is when it became so.
	At      time.Time `json:"at"`
	Deleted bool      `json:"deleted"`
	// State is exactly what the API serves: byte for byte for entities and
	// singletons; the array of all elements for lists.
	State json.RawMessage `json:"state"`
}

// truth returns all entities that the API shows and that changed after a seq,
// in the order of their newest change. kind "" means all. Accounts are shown
// with person_customer=true, or in full.
func (w *world) truth(kindName string, after int64, inFull func(json.RawMessage) json.RawMessage) []Truth {
	w.mu.RLock()
	defer w.mu.RUnlock()
	var all []Truth
	for _, e := range w.entities {
		v := e.current()
		if e.kind.shape == hidden || v.Seq <= after || (kindName != "" && e.kind.name != kindName) {
			continue
		}
		t := truthOf(e, v)
		if inFull != nil && e.kind.name == "account" {
			t.State = inFull(t.State)
		}
		all = append(all, t)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Seq < all[j].Seq })
	return all
}

// history returns the kept versions of an entity, oldest first; nil if there
// is no such entity.
func (w *world) history(kindName, id string) []Truth {
	w.mu.RLock()
	defer w.mu.RUnlock()
	e := w.find(kindName, id)
	if e == nil {
		return nil
	}
	all := make([]Truth, len(e.versions))
	for i := range e.versions {
		all[i] = truthOf(e, &e.versions[i])
	}
	return all
}

func truthOf(e *entity, v *version) Truth {
	return Truth{
		Kind: e.kind.name, ID: e.id, Account: e.link("account"), Parent: e.parent(),
		Version: v.N, Seq: v.Seq, At: v.At, Deleted: v.Deleted, State: v.State,
	}
}
