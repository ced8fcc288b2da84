package entity

import (
	"maps"
	"slices"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
)

// Many paths need more than an entity's id: the account an order stands under.
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

// factual reports whether the document's parents are a fact. A tombstone of an
// entity that was never fetched has none.
func (y *sync) factual() bool { return y.doc.Raw != nil }

// parentSets are the parents to ask for the entity under, in order: those it is
// known to stand under, then those its signals name, in the order of the stream.
// The document of an entity never fetched has what an earlier signal named, which
// comes last.
func (y *sync) parentSets() []map[string]string {
	if set, ok := qualifiers(y.kind, y.ref.Key); ok {
		return []map[string]string{set}
	}
	var sets []map[string]string
	add := func(named map[string]string) {
		if set, ok := hinted(y.kind, named); ok && !among(sets, set) {
			sets = append(sets, set)
		}
	}
	if y.factual() {
		add(y.doc.Parents)
	}
	for _, set := range y.summary.hints {
		add(set)
	}
	add(y.doc.Parents)
	if len(sets) == 0 {
		sets = append(sets, y.doc.Parents) // the fetch says what is missing
	}
	return sets
}

func among(sets []map[string]string, set map[string]string) bool {
	return slices.ContainsFunc(sets, func(s map[string]string) bool { return maps.Equal(s, set) })
}

// ask asks for the entity under the next parent set.
func (y *sync) ask() {
	y.ref.Parents = y.sets[y.at]
	y.do(Fetch{Sync: y.number, Ref: y.ref, Why: y.why(), Class: highest(y.batch), Further: y.at > 0}, (*sync).asked)
}

// why is the justification given to providers that want one.
func (y *sync) why() string {
	first := y.batch[0].Signal
	if first.Cause == event.CauseEvent {
		return "webhook-" + first.CauseID
	}
	return string(first.Cause) + "-" + first.CauseID
}

// asked goes on to the next parent set only if this one does not have the entity:
// it is gone there, or refused though the provider accepts us. If it is us that the
// provider refuses, none of the answers counts.
func (y *sync) asked(r Result) {
	class, _ := fate.Of(r.Err)
	switch {
	case r.Err == nil && !r.Snapshot.Deleted:
		y.snap = r.Snapshot
		y.report(nil)
	case r.Err == nil: // a stub says itself that the entity is gone
		y.stub = r.Snapshot
		y.askNext()
	case class == fate.Gone:
		y.gone = r.Err
		y.askNext()
	case class == fate.Refused && len(y.sets) > 1:
		y.refused = r.Err
		y.do(Consult{Sync: y.number, Key: y.ref.Key, Question: fate.Refusing, Err: r.Err}, (*sync).refusedThere)
	default:
		y.mixed = y.at > 0
		y.report(r.Err)
	}
}

func (y *sync) refusedThere(r Result) {
	if r.Yes {
		y.report(fate.ErrPaused)
		return
	}
	y.askNext()
}

// askNext goes on with the next parent set, or says what all have said: Gone if
// every set says so, Refused if every set does. Else it is undecided.
func (y *sync) askNext() {
	if y.at++; y.at < len(y.sets) {
		y.ask()
		return
	}
	y.ref.Parents = y.sets[0]
	switch {
	case y.refused != nil:
		y.mixed = y.gone != nil || y.stub != nil
		y.report(y.refused)
	case y.gone != nil:
		y.report(y.gone)
	default:
		y.snap = y.stub
		y.report(nil)
	}
}

// newlyAsked reports whether a parent set of this sync had not been asked when
// the entity was first said to be gone: its answer may be too early, as the
// others' were allowed to be.
func (y *sync) newlyAsked() bool {
	return slices.ContainsFunc(y.sets, func(set map[string]string) bool { return !among(y.state.GoneUnder, set) })
}

// parentsDiffer reports whether a signal names other parents than those under
// which the entity stands, as far as that is known.
func (y *sync) parentsDiffer(named map[string]string) bool {
	found := y.snap != nil && !y.snap.Deleted
	if !found && !y.factual() {
		return false
	}
	set, ok := hinted(y.kind, named)
	return ok && !maps.Equal(set, y.ref.Parents)
}
