package entity

import (
	"bytes"
	"maps"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// facts are what a sync has learned: what its signals say, what the mirror holds,
// and what the provider answered.
type facts struct {
	s *Shard
	// kind is the entity's, nil if this worker's definition has none such.
	kind *provider.Kind
	// ref is the entity, with the parents it is asked for under.
	ref     event.Ref
	summary Batch
	doc     *storage.Document // nil before the claim
	sent    time.Time         // when the provider was first asked
	snap    *provider.Snapshot
}

// expects returns the status that an event of a type says the entity has had.
func (f *facts) expects(eventType string) (status string, ok bool) {
	return f.s.cfg.Definition(f.ref.Key.Source).Expects(eventType, f.ref.Key.Kind)
}

// factual reports whether the document's parents are a fact. A tombstone of an
// entity that was never fetched has none.
func (f *facts) factual() bool { return f.doc.Raw != nil }

// parentSets are the parents to ask for the entity under, in order: those it is
// known to be under, then those its signals name, in the order of the stream.
// The document of an entity never fetched has what an earlier signal named, which
// comes last.
func (f *facts) parentSets() []map[string]string {
	if set, ok := qualifiers(f.kind, f.ref.Key); ok {
		return []map[string]string{set}
	}
	var sets []map[string]string
	add := func(named map[string]string) {
		if set, ok := hinted(f.kind, named); ok && !among(sets, set) {
			sets = append(sets, set)
		}
	}
	if f.factual() {
		add(f.doc.Parents)
	}
	for _, set := range f.summary.hints {
		add(set)
	}
	add(f.doc.Parents)
	if len(sets) == 0 {
		sets = append(sets, f.doc.Parents) // the fetch says what is missing
	}
	return sets
}

// parentsDiffer reports whether a signal names other parents than those under
// which the entity is, as far as that is known.
func (f *facts) parentsDiffer(named map[string]string) bool {
	found := f.snap != nil && !f.snap.Deleted
	if !found && !f.factual() {
		return false
	}
	set, ok := hinted(f.kind, named)
	return ok && !maps.Equal(set, f.ref.Parents)
}

// emptied reports whether the answer is a root list without elements of which the
// mirror holds some: most likely it is another account's.
func (f *facts) emptied() bool {
	empty := func(raw []byte) bool {
		return f.s.cfg.Definition(f.ref.Key.Source).IsEmptyRoot(f.ref.Key.Kind, raw)
	}
	return f.doc.Alive() && empty(f.snap.Raw) && !empty(f.doc.Raw)
}

// unchanged reports whether the document holds the answer: every byte of it, and
// what the definition makes of it.
func (f *facts) unchanged() bool {
	d, snap := f.doc, f.snap
	return d.DeletedAt.IsZero() && bytes.Equal(d.Raw, snap.Raw) &&
		d.StateHash == snap.Hash && d.Status == snap.Status && d.Terminal == snap.Terminal
}

// mirrored reads the mirror's own state of the entity. Nil: there is none, or it
// was edited so that it cannot be read. Then it proves nothing, and the answer
// replaces it.
func (f *facts) mirrored() *provider.Snapshot {
	if f.doc.Raw == nil {
		return nil
	}
	prev, err := f.s.cfg.Definition(f.ref.Key.Source).Read(f.ref.Key.Kind, f.doc.Raw)
	if err != nil {
		f.s.cfg.Logger.Error("the mirror's own state of an entity could not be read; it is replaced", "shard", f.s.cfg.Shard, "entity", f.ref.Key.String(), "error", err)
		return nil
	}
	return prev
}

// missesAnEvent reports whether an event of the batch says that the entity has had
// a status its history does not show.
func (f *facts) missesAnEvent() bool {
	for _, t := range f.summary.types {
		if want, ok := f.expects(t.name); ok && !f.snap.Had(want) {
			return true
		}
	}
	return false
}

// maybeBefore reports whether the answer, fetched within the kind's lag of an
// event, may be from before it though its history has the status that the event
// implies: the entity has been in it several times, or has another one now. An entity
// that went through several statuses at once looks the same; it is fetched once
// more in vain. One that enters for the second time the status it is in is not seen.
func (f *facts) maybeBefore(prev *provider.Snapshot) bool {
	if f.summary.newest.ID == "" {
		return f.secondLookIsEarly(repeatVerify)
	}
	if prev == nil {
		return false
	}
	for _, t := range f.summary.types {
		status, ok := f.expects(t.name)
		if ok && f.snap.SentAt.Sub(t.newest) < f.kind.ReadLag && (f.snap.Status != status || f.snap.Entries(status) > 1) {
			return true
		}
	}
	return false
}

// maybeEarly reports whether the fetch began within the kind's lag of something
// that has happened: a read so soon may not show it yet, and without a history
// that cannot be seen. A second look is too early itself if an event came shortly
// before it, which found it asked for already. The refresh of a derived kind always
// may be.
func (f *facts) maybeEarly() bool {
	b := &f.summary
	return b.derived ||
		b.newest.ID != "" && f.snap.SentAt.Sub(b.newest.CreatedAt) < f.kind.ReadLag ||
		f.secondLookIsEarly(f.kind.VerifyAfter)
}

// secondLookIsEarly reports whether this is a second look, asked for so long before
// it, and an event came shortly before it, which found it asked for already.
func (f *facts) secondLookIsEarly(before time.Duration) bool {
	if f.summary.second.IsZero() {
		return false
	}
	last, asked := f.lastEventAt(), f.summary.second.Add(-before)
	since := f.snap.SentAt.Sub(last)
	// Not if the provider's clock is ahead: that would never end.
	return last.After(asked) && since >= 0 && since < f.kind.ReadLag
}

// newest returns the newest event of those covered if it is newer than the one the
// document remembers.
func (f *facts) newest() (last storage.LastEvent) {
	if at := f.lastEventAt(); at.IsZero() || f.summary.newest.CreatedAt.After(at) {
		return f.summary.newest
	}
	return last
}

// lastEventAt is when the newest event was created that the document remembers.
// Zero if it is one of the future: event.OrderTime lets none in, but a document
// may have it from an earlier release, or from a host whose clock was wrong.
func (f *facts) lastEventAt() time.Time {
	if f.lastEventIsAhead() {
		return time.Time{}
	}
	return f.doc.LastEvent.CreatedAt
}

func (f *facts) lastEventIsAhead() bool {
	return f.doc.LastEvent.CreatedAt.After(f.s.now.Add(ClocksApart))
}

// stateHash is the hash of the state the mirror has after the verdict.
func (f *facts) stateHash(kept bool) string {
	switch {
	case kept && f.doc.DeletedAt.IsZero():
		return f.doc.StateHash
	case kept, f.snap == nil, f.snap.Deleted: // no answer was taken: the provider has no such entity
		return storage.StateGone
	}
	return f.snap.Hash
}

// fetchedAt is when the covering request was sent.
func (f *facts) fetchedAt() time.Time {
	if f.snap != nil && !f.snap.SentAt.IsZero() {
		return f.snap.SentAt.UTC()
	}
	return f.sent
}
