package worker

import (
	"context"
	"maps"
	"slices"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
)

// mostHints is how many different parent sets the signals of one sync may name.
// Further ones wait for the next sync of the lane. With those the document has,
// a sync asks for the entity under at most mostHints+1 parent sets.
const mostHints = 8

// hinted returns the parents a signal names, as the kind needs them. False: the
// entity could not be asked for under them.
func hinted(kind *provider.Kind, named map[string]string) (set map[string]string, ok bool) {
	if kind == nil {
		return nil, false // the definition has dropped it, which the fetch says
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

// factual reports whether the document's parents are a fact: a fetch under them
// has succeeded. A tombstone of an entity that was never fetched has none.
func (a *attempt) factual() bool { return a.doc.Raw != nil }

// parentSets are the parents to ask for the entity under, in order: those it is
// known to stand under, then those its signals name, in the order of the
// stream. Of an entity never fetched, the document has what an earlier signal
// named, which comes last.
func (a *attempt) parentSets() []map[string]string {
	kind := a.kind
	if set, ok := qualifiers(kind, a.ln.key); ok {
		return []map[string]string{set}
	}
	var sets []map[string]string
	add := func(named map[string]string) {
		if set, ok := hinted(kind, named); ok && !among(sets, set) {
			sets = append(sets, set)
		}
	}
	if a.factual() {
		add(a.doc.Parents)
	}
	for _, set := range a.summary.hints {
		add(set)
	}
	add(a.doc.Parents)
	if len(sets) == 0 {
		sets = append(sets, a.doc.Parents) // the fetch says what is missing
	}
	return sets
}

func among(sets []map[string]string, set map[string]string) bool {
	return slices.ContainsFunc(sets, func(s map[string]string) bool { return maps.Equal(s, set) })
}

// askAround asks for the entity under its parent sets in turn, until one has it.
// A set is asked only if all before it say that they do not have the entity:
// gone, or refused though the provider accepts us. If it is us that the provider
// refuses, the source is paused and none of the answers counts.
//
// The error is Gone only if every set says so, and Refused if every set does.
// Anything else leaves it undecided: see attempt.undecided.
func (a *attempt) askAround(ctx context.Context) error {
	var gone, refused error
	var stub *provider.Snapshot // says itself that the entity is gone
	for i, set := range a.sets {
		if i > 0 {
			if err := a.src.token(ctx, classOf(a.batch)); err != nil {
				return err
			}
		}
		a.ref.Parents = set
		snap, err := a.ask(ctx)
		class, _ := fate.Of(err)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && !snap.Deleted:
			a.snap = snap
			return nil
		case err == nil:
			stub = snap
		case class == fate.Gone:
			gone = err
		case class == fate.Refused && len(a.sets) > 1:
			if a.src.isIll(ctx, a.src.prober.Ask) {
				return errPaused
			}
			refused = err
		default:
			a.mixed = i > 0
			return err
		}
	}
	a.ref.Parents = a.sets[0]
	switch {
	case refused != nil:
		a.mixed = gone != nil || stub != nil
		return refused
	case gone != nil:
		return gone
	}
	a.snap = stub
	return nil
}

// undecided reports whether the parent sets disagree and none has the entity:
// one says that it is gone, another refuses us or the question. Whoever is
// right, nothing is concluded; it is tried again like any other failure.
func (a *attempt) undecided(class fate.Class) bool {
	return a.mixed && (class == fate.Gone || class == fate.Refused || class == fate.Permanent)
}

// newlyAsked reports whether a parent set of this sync had not been asked when
// the entity was first said to be gone: its answer may be too early, as the
// others' were allowed to be.
func (a *attempt) newlyAsked() bool {
	return slices.ContainsFunc(a.sets, func(set map[string]string) bool { return !among(a.state.GoneUnder, set) })
}

// parentsDiffer reports whether a signal names other parents than those under
// which the entity stands, as far as that is known.
func (a *attempt) parentsDiffer(named map[string]string) bool {
	found := a.snap != nil && !a.snap.Deleted
	if !found && !a.factual() {
		return false
	}
	set, ok := hinted(a.kind, named)
	return ok && !maps.Equal(set, a.ref.Parents)
}
