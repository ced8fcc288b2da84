package storage

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// ErasedText stands where content was that has been erased: as the payload of an event,
// as the patch of a discrepancy, as the error of a failure. No webhook has such a body,
// since it is no JSON.
const ErasedText = "erased"

// ErasedClaim is the synced_claim of a marker. Fetched documents have a higher one, those
// never fetched have 0, so that queries for either leave markers out.
const ErasedClaim = -1

// IsErased reports whether a payload is what erasing left of it.
func IsErased(payload []byte) bool { return string(payload) == ErasedText }

// Marker is what is left of an erased entity, in its document: that it is erased, since
// when and by whom. As long as it is there, no write brings a state back.
type Marker struct {
	At time.Time
	// By is the name of the token of the operator who erased it.
	By string
	// With is the entity it was erased with, since it is under that one. Zero: it was
	// erased by itself.
	With event.Key
}

// Erasure is one act of erasing, in the list that workers and the reconciler keep in
// memory. The entities erased with another one have a marker and are not in the list,
// except those that others are under.
type Erasure struct {
	Key event.Key
	Marker
	// Below: all that is under the entity is erased too, also what appears later.
	Below bool
}

// Cleared says what one call of Clear has found.
type Cleared struct {
	// Events are rows of the log that name the entity and still had content.
	Events int
	// Next is where the next call goes on, "" at the end.
	Next string
}

// BelowFilter selects documents under a parent, whatever is known of them. All fields are
// required but After.
type BelowFilter struct {
	Source, Kind string
	// Parent and ID are the parent: its name among Document.Parents, and its id.
	Parent, ID string
	// After is the id, as event.Key.Local has it, to go on behind.
	After string
	// Limit is the most documents answered, 1 to 1,000.
	Limit int
}

// Erasing is the part of Store that removes a person's data. Every method may be repeated,
// and goes on where a call that was cut off has stopped.
type Erasing interface {
	// Erase writes the entity's marker, in one atomic step: it raises the claim, so that
	// a fetch under way is not written, and removes all of the document but its key,
	// its parents and its claim. A document is made if there is none. An entity that is
	// erased keeps the marker it has; one that was erased with another and is erased
	// by itself now gets the new one. Erase returns the document.
	Erase(ctx context.Context, ref event.Ref, m Marker) (*Document, error)

	// Clear replaces what records hold of an entity's content by ErasedText: payloads
	// and errors of events that name it, also of those that name other entities
	// besides, other bodies of these events in the audit, attempts of dead letters,
	// patches, why a sync by hand was given up, and the content of commands that are
	// over. Its open and dead outcomes become
	// Erased, open dead letters LetterErased, and suspected discrepancies are dropped.
	// One call handles a bounded number of events, from after on ("" at first), and
	// with the first of them everything else.
	Clear(ctx context.Context, k event.Key, after string, at time.Time) (Cleared, error)

	// Unerase removes the marker of an entity that was erased with the given one, or by
	// itself if with is zero. The document is then one that was never fetched. Without
	// such a marker nothing changes: false.
	Unerase(ctx context.Context, k, with event.Key) (bool, error)

	// Enlist puts an act of erasing into the list. Of one that is there already At and By
	// stay those of the first; Below is added, and With goes if the new one has none. Unlist removes
	// the act of an entity, and those of what was erased with it.
	Enlist(ctx context.Context, e Erasure) error
	Unlist(ctx context.Context, k event.Key) error

	// Erasures returns the list, in no order, and its version, which grows with every
	// change. If the list has the version that the caller has seen, it is not read: nil
	// and the same version.
	Erasures(ctx context.Context, seen int64) (list []Erasure, version int64, err error)

	// Below returns documents under a parent by id, those never fetched and markers
	// included.
	Below(ctx context.Context, f BelowFilter) ([]*Document, error)
}

// ErasureSpec is the Spec, in JSON, of a task of kind "erase" or "restore". Its Counts are
// done (entities) and events.
type ErasureSpec struct {
	Entity event.Ref `json:"entity"`
	// Below: the entity and all that is under it.
	Below bool `json:"below,omitempty"`
}
