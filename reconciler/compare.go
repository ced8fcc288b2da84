package reconciler

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
)

// opinion is what comparing says about one entity.
type opinion int

const (
	// agrees: provider and mirror have the same state.
	agrees opinion = iota
	// unsure: nothing can be said.
	unsure
	// behind: they have different states, and the mirror knows itself to be behind
	// and is working on it.
	behind
	// differs: they have different states.
	differs
	// elsewhere: they have the same state, under different parents.
	elsewhere
)

// sighting is what the provider was seen to have: one element of a list, or
// the answer for one entity.
type sighting struct {
	ref event.Ref
	// state is nil if the provider says it has no such entity.
	state *provider.Snapshot
	// at is when the request was sent.
	at time.Time
}

// exists reports whether the provider has the entity.
func (s sighting) exists() bool { return s.state != nil && !s.state.Deleted }

// hash names what was seen, as outcomes and discrepancies keep it.
func (s sighting) hash() string {
	if !s.exists() {
		return mirror.StateGone
	}
	return s.state.Hash
}

// syncedSince reports whether a sync of the entity was written between two
// readings of its document, nil for none. Claims tell that without a clock: the
// worker that fetched and the reconciler that compares may each have another.
func syncedSince(before, after *mirror.Document) bool {
	return syncedClaim(before) != syncedClaim(after)
}

// syncedClaim is the claim of the fetch a document's state is from. 0: it has none.
func syncedClaim(doc *mirror.Document) int64 {
	if doc == nil {
		return 0
	}
	return doc.SyncedClaim
}

// compare says what a sighting means for the document the mirror has, nil if it
// has none. The sighting is the newer of the two unless a sync was written
// meanwhile, which the caller has to rule out (syncedSince).
func compare(d *provider.Definition, doc *mirror.Document, seen sighting) (opinion, mirror.DiscrepancyType) {
	exists := seen.exists()
	switch {
	case doc == nil || !doc.Known():
		if !exists {
			return unsure, "" // there is nothing, and nothing is known
		}
		return different(doc), mirror.Missing
	case !exists && !doc.DeletedAt.IsZero():
		return agrees, ""
	case !exists:
		return differs, mirror.Deleted
	case !doc.DeletedAt.IsZero():
		return differs, mirror.Unexpected
	case !sameState(d, doc, seen.state):
		return different(doc), mirror.Stale
	case !sameParents(d, doc, seen.ref):
		return elsewhere, mirror.Moved
	}
	return agrees, ""
}

// sameParents reports whether an entity was seen under the parents the mirror
// has for it. Parents nobody could ask under are not compared.
func sameParents(d *provider.Definition, doc *mirror.Document, ref event.Ref) bool {
	k := d.Kind(doc.Key.Kind)
	have, known := k.Parents(doc.Parents)
	seen, ok := k.Parents(ref.Parents)
	return !known || !ok || maps.Equal(have, seen)
}

// different is the opinion of an entity that is not as the mirror has it.
func different(doc *mirror.Document) opinion {
	if awaited(doc) {
		return behind
	}
	return differs
}

// awaited reports whether somebody is about to look at the entity of a document,
// nil if there is none: a retry, or a second look at a read that lagged, is on
// its way. With a dead letter nobody else will look.
func awaited(doc *mirror.Document) bool {
	return doc != nil && doc.Behind != nil && doc.Behind.Reason != mirror.ReasonDeadLetter
}

// sameState compares by content. The stored hash is not trusted: it says what
// was written, and a hand in the database may have written since; besides,
// another version of the definition may have had other volatile fields.
func sameState(d *provider.Definition, doc *mirror.Document, state *provider.Snapshot) bool {
	have, err := d.Read(doc.Key.Kind, doc.Raw)
	return err == nil && have.Hash == state.Hash
}

// difference is an entity that provider and mirror do not agree about.
type difference struct {
	sighting
	typ mirror.DiscrepancyType
	// doc is what the mirror has, nil for nothing.
	doc *mirror.Document
}

// id names the difference: as long as no sync has changed the mirror's side, it
// is the same one, whoever finds it again. No sync ends that two entities have
// one id: that is one difference for good.
func (d difference) id() string {
	if d.typ == mirror.SharedID {
		return discrepancyID(d.ref.Key.String(), string(d.typ), listName(d.ref.Key.Kind, d.ref.Parents))
	}
	return discrepancyID(d.ref.Key.String(), string(d.typ), strconv.FormatInt(syncedClaim(d.doc), 10))
}

// discrepancyID makes an id of what makes a discrepancy this one.
func discrepancyID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write([]byte(p + "\x00")) // cannot fail
	}
	return "dis_" + hex.EncodeToString(h.Sum(nil)[:16])
}

// record is the difference as the store keeps it.
func (d difference) record(def *provider.Definition, sweep string) (mirror.Discrepancy, error) {
	out := mirror.Discrepancy{
		ID: d.id(), Source: d.ref.Key.Source, Entity: d.ref.Key, Type: d.typ, Status: mirror.Suspected,
		SweepID: sweep, FoundAt: d.at.UTC(), StateHash: d.hash(), SyncedClaim: syncedClaim(d.doc),
	}
	if d.typ != mirror.Stale {
		return out, nil
	}
	var err error
	out.Patch, err = patchOf(def, d.ref.Key.Kind, d.doc.Raw, d.state.Raw)
	return out, err
}
