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

// opinion is the result of comparing one entity.
type opinion int

const (
	// agrees: provider and mirror have the same state.
	agrees opinion = iota
	// unsure: nothing can be said.
	unsure
	// behind: they have different states; the mirror knows that it is behind, and a
	// worker will fetch the entity.
	behind
	// differs: they have different states.
	differs
	// elsewhere: they have the same state, under different parents.
	elsewhere
)

// observation is an entity as the provider showed it, in a list or as the answer to a
// GET.
type observation struct {
	ref event.Ref
	// state is nil if the provider says it has no such entity.
	state *provider.Snapshot
	// at is when the request was sent.
	at time.Time
	// listed: state is an element of a list. partial: the element may show less than
	// a GET, and only what it shows is compared. cut: a list inside the element is not
	// whole, so that nothing can be said.
	listed, partial, cut bool
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

// syncedSince reports whether a sync of the entity was written between two readings of
// its document, nil for none. It compares claims, since the clocks of the worker and of
// this process may differ.
func syncedSince(before, after *storage.Document) bool {
	return syncedClaim(before) != syncedClaim(after)
}

// syncedClaim is the claim of the fetch that wrote a document's state. 0: none did.
func syncedClaim(doc *storage.Document) int64 {
	if doc == nil {
		return 0
	}
	return doc.SyncedClaim
}

// compare compares an observation with the mirror's document, nil if it has none. The
// observation is the newer of the two unless a sync was written meanwhile, which the
// caller must rule out (syncedSince).
func compare(d *provider.Definition, doc *storage.Document, seen observation) (opinion, storage.DiscrepancyType) {
	exists := seen.exists()
	switch {
	case doc == nil || !doc.Known():
		if !exists {
			return unsure, "" // neither side has it
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

// sameParents reports whether an entity was seen under the parents that the mirror has
// for it. It does not compare parents that no request could name.
func sameParents(d *provider.Definition, doc *storage.Document, ref event.Ref) bool {
	k := d.Kind(doc.Key.Kind)
	have, known := k.Parents(doc.Parents)
	seen, ok := k.Parents(ref.Parents)
	return !known || !ok || maps.Equal(have, seen)
}

// different is the opinion for an entity whose state differs from the mirror's.
func different(doc *storage.Document) opinion {
	if awaited(doc) {
		return behind
	}
	return differs
}

// awaited reports whether a worker will fetch the entity of a document, nil if there is
// none: a retry, or a second look after a lagging answer, is on its way. After a dead
// letter no worker will.
func awaited(doc *storage.Document) bool {
	return doc != nil && doc.Behind != nil && doc.Behind.Reason != storage.ReasonDeadLetter
}

// sameState compares the content. It does not trust the stored hash: another program
// may have changed the document since, and another version of the definition may have
// had other volatile fields.
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

// difference is an entity that differs between provider and mirror.
type difference struct {
	observation
	typ storage.DiscrepancyType
	// doc is what the mirror has, nil for nothing.
	doc *storage.Document
	// lost is the highest claim under which the log says that the entity was
	// written, if the mirror lacks it: the database has lost it since. 0: it was
	// never written, as far as the log says.
	lost int64
}

// id is the id of the difference. It stays the same until a sync changes the mirror's
// side, so a difference that is found again has the same id. No sync ends a shared id,
// so its id never changes.
func (d difference) id() string {
	if d.typ == storage.SharedID {
		return discrepancyID(d.ref.Key.String(), string(d.typ), listName(d.ref.Key.Kind, d.ref.Parents))
	}
	return discrepancyID(d.ref.Key.String(), string(d.typ), strconv.FormatInt(d.claim(), 10))
}

// claim is the claim of the newest fetch that was written before the comparison: only a
// higher one can have repaired the difference.
func (d difference) claim() int64 { return max(syncedClaim(d.doc), d.lost) }

// syncedAt is when the mirror's side was fetched. Zero: it has nothing.
func (d difference) syncedAt() time.Time {
	if d.doc == nil {
		return time.Time{}
	}
	return d.doc.SyncedAt
}

// discrepancyID makes an id of the parts that identify a discrepancy.
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
