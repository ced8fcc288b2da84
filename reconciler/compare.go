package reconciler

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
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

// observation is what the provider showed of one entity, in a list or as the answer
// to a GET.
type observation struct {
	ref event.Ref
	// state is nil if the provider says it has no such entity.
	state *provider.Snapshot
	// at is when the request was sent.
	at time.Time
	// listed: state is an element of a list. partial: such a one may show less than a
	// GET, and only what it shows is compared.
	listed, partial bool
}

// exists reports whether the provider has the entity.
func (o observation) exists() bool { return o.state != nil && !o.state.Deleted }

// hash names the state shown, as outcomes and discrepancies keep it.
func (o observation) hash() string {
	if !o.exists() {
		return storage.StateGone
	}
	return o.state.Hash
}

// syncedSince reports whether a sync of the entity was written between two
// readings of its document, nil for none. Claims tell that without a clock: the
// worker that fetched and the reconciler that compares may each have another.
func syncedSince(before, after *storage.Document) bool {
	return syncedClaim(before) != syncedClaim(after)
}

// syncedClaim is the claim of the fetch a document's state is from. 0: it has none.
func syncedClaim(doc *storage.Document) int64 {
	if doc == nil {
		return 0
	}
	return doc.SyncedClaim
}

// compare says what an observation means for the document the mirror has, nil if it
// has none. The observation is the newer of the two unless a sync was written
// meanwhile, which the caller has to rule out (syncedSince).
func compare(d *provider.Definition, doc *storage.Document, seen observation) (opinion, storage.DiscrepancyType) {
	exists := seen.exists()
	switch {
	case doc == nil || !doc.Known():
		if !exists {
			return unsure, "" // there is nothing, and nothing is known
		}
		return different(doc), storage.Missing
	case !exists && !doc.DeletedAt.IsZero():
		return agrees, ""
	case !exists:
		return differs, storage.Deleted
	case !doc.DeletedAt.IsZero():
		return differs, storage.Unexpected
	case !sameState(d, doc, seen):
		return different(doc), storage.Stale
	case !sameParents(d, doc, seen.ref):
		return elsewhere, storage.Moved
	}
	return agrees, ""
}

// sameParents reports whether an entity was seen under the parents the mirror
// has for it. Parents that no request could name are not compared.
func sameParents(d *provider.Definition, doc *storage.Document, ref event.Ref) bool {
	k := d.Kind(doc.Key.Kind)
	have, known := k.Parents(doc.Parents)
	seen, ok := k.Parents(ref.Parents)
	return !known || !ok || maps.Equal(have, seen)
}

// different is the opinion of an entity that is not as the mirror has it.
func different(doc *storage.Document) opinion {
	if awaited(doc) {
		return behind
	}
	return differs
}

// awaited reports whether a worker is about to look at the entity of a document,
// nil if there is none: a retry, or a second look at a read that lagged, is on
// its way. With a dead letter no worker will.
func awaited(doc *storage.Document) bool {
	return doc != nil && doc.Behind != nil && doc.Behind.Reason != storage.ReasonDeadLetter
}

// sameState compares by content. The stored hash is not trusted: it says what
// was written, and a hand in the database may have written since; besides,
// another version of the definition may have had other volatile fields.
func sameState(d *provider.Definition, doc *storage.Document, seen observation) bool {
	have, err := d.Read(doc.Key.Kind, doc.Raw)
	switch {
	case err != nil:
		return false
	case seen.partial:
		return d.Shows(doc.Key.Kind, seen.state, have)
	}
	return have.Hash == seen.state.Hash
}

// difference is an entity that provider and mirror do not agree about.
type difference struct {
	observation
	typ storage.DiscrepancyType
	// doc is what the mirror has, nil for nothing.
	doc *storage.Document
	// lost is the highest claim under which the log says that the entity was
	// written, if the mirror has nothing of it: the database has lost it since. 0: it
	// was never written, as far as is known.
	lost int64
}

// id names the difference: as long as no sync has changed the mirror's side, it
// is the same one when it is found again. No sync ends that two entities have one
// id: that is one difference for good.
func (d difference) id() string {
	if d.typ == storage.SharedID {
		return discrepancyID(d.ref.Key.String(), string(d.typ), listName(d.ref.Key.Kind, d.ref.Parents))
	}
	return discrepancyID(d.ref.Key.String(), string(d.typ), strconv.FormatInt(d.claim(), 10))
}

// claim is the claim of the newest fetch that was written before the comparison:
// only a higher one can have mended the difference.
func (d difference) claim() int64 { return max(syncedClaim(d.doc), d.lost) }

// syncedAt is when the mirror's side was fetched. Zero: it has nothing.
func (d difference) syncedAt() time.Time {
	if d.doc == nil {
		return time.Time{}
	}
	return d.doc.SyncedAt
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
func (d difference) record(def *provider.Definition, sweep string) (storage.Discrepancy, error) {
	out := storage.Discrepancy{
		ID: d.id(), Source: d.ref.Key.Source, Entity: d.ref.Key, Type: d.typ, Status: storage.Suspected,
		SweepID: sweep, FoundAt: d.at.UTC(), StateHash: d.hash(), SyncedClaim: d.claim(), SyncedAt: d.syncedAt(),
	}
	if d.typ != storage.Stale {
		return out, nil
	}
	var err error
	out.Patch, err = patchOf(def, d.ref.Key.Kind, d.doc.Raw, d.state.Raw)
	return out, err
}
