package storage

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// Document is the mirror of one entity.
type Document struct {
	Key event.Key
	// Parents are the ids of the entity's parents. Once Raw is there they
	// are confirmed: a fetch under them succeeded. Until then they are from the
	// signal that made the document.
	Parents map[string]string
	// Raw is the provider's JSON, every token as it came (key order, 1.10
	// stays 1.10), secret fields cut out. Nil until the first good fetch.
	Raw []byte
	// Status is the entity's status by the definition; "" where it has none.
	Status string
	// Terminal reports that the status is one the entity never leaves.
	Terminal bool
	// TerminalAt is when the mirror first saw that status. Zero while it is
	// not terminal.
	TerminalAt time.Time
	// DeletedAt is when the provider was found to have it no longer; Raw is
	// then the last state known. Zero while it lives.
	DeletedAt time.Time
	// Claim is the number of the newest fetch begun, SyncedClaim that of the
	// newest fetch whose answer was written or found unchanged.
	Claim, SyncedClaim int64
	// StateHash is of the canonical state without volatile fields.
	StateHash string
	// SyncedAt is when the fetch behind SyncedClaim was sent, VerifiedAt the
	// latest time the state is known to have been the provider's: the same, or
	// later when a sweep compared it. Zero until the first good fetch.
	SyncedAt, VerifiedAt time.Time
	// LastEvent is the newest event that a sync has covered, by event.OrderTime.
	LastEvent LastEvent
	// Behind says since when and why the mirror knows itself to be behind the
	// provider (parked, dead letter, lagging read). Nil when it does not.
	Behind *Behind
	// OpenLetters is how many open dead letters name the entity.
	OpenLetters int
	// DoubtedAt is since when, by the queue's clock, the provider's answers have
	// lacked history that this document holds. Zero when they do not.
	DoubtedAt time.Time
	// Erased is the marker of an entity whose data an operator has erased. The document
	// has only Key, Parents and Claim besides, and SyncedClaim is ErasedClaim. Nil for
	// all others.
	Erased *Marker
	// Version is the claim of the last change of what the document says of the entity:
	// its state, its deletion or its parents. Erasing makes it one more than it was,
	// which is no more than the claim that it raises. Fed is the highest version known to be in
	// the feed; see Feed. Both are 0 in a document that has not changed since an older
	// version of Tarn wrote it.
	Version, Fed int64
	// Damaged names the stored fields that could not be read, as after an edit
	// by hand. They are as if never written. Claim removes them, and the
	// next write with Raw sets them.
	Damaged []string
}

// Known reports whether the entity was ever fetched.
func (d *Document) Known() bool { return d.SyncedClaim > 0 }

// Alive reports whether the mirror holds the entity and does not know it as deleted.
func (d *Document) Alive() bool { return d.Known() && d.DeletedAt.IsZero() }

// Owes reports whether the feed does not have the document's version yet.
func (d *Document) Owes() bool { return d.Version > d.Fed }

// LastEvent names an event.
type LastEvent struct {
	ID        string
	Type      string
	CreatedAt time.Time
}

// The reasons of Behind.
const (
	ReasonRetrying   = "retrying"
	ReasonLagging    = "lagging"
	ReasonDeadLetter = "dead letter"
)

// Behind says since when and why a document is behind.
type Behind struct {
	Since  time.Time
	Reason string
}

// Write is the outcome of one fetch, to be applied if its claim is still the
// newest.
type Write struct {
	// Ref is the entity, with the parents under which the provider answered. They
	// become the document's, unless there are none or Deleted is set: an entity
	// that is gone has none.
	Ref   event.Ref
	Claim int64
	// SentAt is when the request was sent: it becomes synced_at and, unless
	// that is later already, verified_at.
	SentAt time.Time
	// Raw, StateHash, Status and Terminal are the new state. Raw nil means
	// "unchanged": the stored state stays and only times and claims change.
	Raw       []byte
	StateHash string
	Status    string
	Terminal  bool
	// Deleted makes a tombstone: deleted_at is set to SentAt if it was not set,
	// the last state stays (Raw is ignored). A write with Raw and without
	// Deleted clears it.
	Deleted bool
	// DeletedBefore says that the document was a tombstone when it was claimed, and
	// Moved that its parents were not those of Ref: see Changes.
	DeletedBefore, Moved bool
	// Kept says that the answer was not taken because it lacked history the
	// mirror holds: the state stays (Raw and Deleted are ignored),
	// verified_at stays, doubted_at is set to DoubtedAt if it was not set, and
	// Behind becomes "lagging", since then or since it was behind already.
	// Without it doubted_at and behind are cleared (behind stays while
	// open_letters > 0).
	Kept      bool
	DoubtedAt time.Time
	// LastEvent replaces the stored one if its CreatedAt is later; of the same
	// time, the one with the greater id wins. May be zero.
	LastEvent LastEvent
	// ForgetLastEvent: the stored one is dated in the future; LastEvent, unless it is
	// zero, replaces it at any time of its own.
	ForgetLastEvent bool
}

// Written is the result of a Write.
type Written struct {
	Applied bool
	// OpenLetters: the entity has open dead letters, which an answer that was
	// taken makes pointless: see Supersede.
	OpenLetters bool
}

// NewState reports whether the write replaces the stored state.
func (w *Write) NewState() bool { return w.Raw != nil && !w.Deleted && !w.Kept }

// Changes reports whether the write changes what the document says of the entity. Claim
// becomes its version then.
func (w *Write) Changes() bool {
	deletes := w.Deleted && !w.Kept
	return w.NewState() || deletes && !w.DeletedBefore || w.Moved && !deletes
}
