package storage

import (
	"context"
	"errors"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// ErrNotFound is returned for what the store does not hold.
var ErrNotFound = errors.New("not found")

// ErrCursor is returned for a list cursor that was not made by this store.
var ErrCursor = errors.New("cursor is not one this list gave out: start again without it")

// ErrTimeout is in the error, of class fate.Unavailable, of a call that reached
// the database and took longer than its time-out. A store that is away passes;
// a call that is too long for its time-out may not.
var ErrTimeout = errors.New("the store took longer than its time-out")

// IsAway reports whether a call failed because the store cannot be used now. The same
// call may succeed later.
func IsAway(err error) bool {
	class, _ := fate.Of(err)
	return err != nil && class == fate.Unavailable
}

// IsTimeout reports whether err is an ErrTimeout.
func IsTimeout(err error) bool { return errors.Is(err, ErrTimeout) }

// Store is the database. All methods are safe for concurrent use and honour
// their context; errors are classified as the package comment says. Batches
// may be of any length, order is kept, and every write may be repeated. A long
// batch of Note is an exception: see MaxNotes.
type Store interface {
	// Ping reports whether the database answers and can be written.
	Ping(ctx context.Context) error
	// Close releases everything. Calls in flight are finished first.
	Close() error

	// Log inserts a row for every arrival not in the log yet, with an open
	// outcome per entity; an event without entities is processed at once. For
	// a row that is there:
	//   - same stream entry: nothing changes;
	//   - another stream entry: the row remembers it, counts a duplicate, its
	//     dead outcomes are opened again, and the entry becomes the current one of
	//     the primary entity's outcome if that is open;
	//   - another body: the first is kept, payload_differs is set, and entities
	//     only the second names get open outcomes; unless one of the two is
	//     ErasedText;
	//   - another note than the row's, which has one: the event was read again by a
	//     definition that has changed. Its note and Unnamed replace the row's, and
	//     entities that only the new reading names get open outcomes. Such an entry
	//     is no duplicate.
	// The same event twice in one batch is handled as if in two calls. The
	// answer has one element per arrival.
	Log(ctx context.Context, arrivals []Arrival) ([]Logged, error)

	// Settle marks outcomes processed where they are open, or erased, and lets the row's
	// status follow. An outcome the row does not have, or has settled, is left.
	// Calls made at once may share round trips.
	Settle(ctx context.Context, done []Settlement) error

	// Fail notes a failure on every row with an open outcome for the entity: status
	// retrying, error, when it is tried again, and attempts + 1 unless it is uncharged;
	// and marks the entity's document behind
	// since the first of them (reason "retrying"), if it is not already and their
	// claim is still the newest. The same failure (event, entity and At) is counted
	// once.
	Fail(ctx context.Context, failed []Failure) error

	// Bury writes a dead letter for each, sets the outcome dead where it is
	// open, counts the entity's open dead letters and marks it behind (reason
	// "dead letter"). A dead letter whose entity has meanwhile been synced by a
	// higher claim is superseded at once: its element of the answer is true.
	// One of an erased entity is LetterErased at once, without its errors: true.
	// A dead letter that is there already is open again, unless its outcome has ended
	// otherwise since, and keeps its former attempts beside the new ones, the
	// newest 100 in all, and the highest claim.
	Bury(ctx context.Context, letters []Letter) (superseded []bool, err error)

	// Supersede marks the entity's open dead letters of a claim below the given one
	// superseded, their outcomes too, lets the rows' status follow, recounts
	// open_letters, and clears behind if none is left and the document is not
	// doubted. It returns how many. It is needed after a good sync only if the
	// write found open dead letters: one buried later compares itself with what was
	// synced.
	Supersede(ctx context.Context, k event.Key, claim int64) (int, error)

	// Claim raises the entity's claim by one, creating the document if need be,
	// and returns the document as it is after that. A new document gets ref's
	// parents; those of one that is there are changed by Write alone. What is
	// damaged of the document is named, and removed.
	Claim(ctx context.Context, ref event.Ref) (*Document, error)

	// Write applies the outcome of a fetch if its claim is still the newest.
	// Without Applied in the answer a newer fetch has begun, or the entity was erased,
	// and nothing changed.
	// If two fetches got the same claim, because the database was restored from an
	// older copy while one was in flight, the one sent later wins.
	Write(ctx context.Context, w *Write) (Written, error)

	// Note adds to the audit; duplicates are counted on their event's row.
	Note(ctx context.Context, notes []Note) error

	// Discrepancies are what sweeps find.
	Discrepancies
	// Letters is what operators do with dead letters.
	Letters
	// Recovery is what finds work that Redis lost.
	Recovery
	// Verification is what sweeps read and write.
	Verification
	// Tasks is the reconciler's work that outlives its processes.
	Tasks
	// Feed is the log of changes that consumers follow.
	Feed
	// Subscriptions are how far these are.
	Subscriptions
	// Identity is which fleet the database belongs to.
	Identity
	// Erasing removes a person's data.
	Erasing
	// Commands returns the part that keeps commands, which are changes to be made at the
	// provider.
	Commands() Commands
	// Outbox is what applications ask for by rows of their own.
	Outbox

	// Reader is what the query API needs.
	Reader
}

// Reader is the reading half of Store.
type Reader interface {
	// Entity returns one document, or ErrNotFound.
	Entity(ctx context.Context, k event.Key) (*Document, error)
	// Namesakes returns the fetched and the erased documents that have a plain id under
	// qualifiers, up to limit, in the order of their qualifiers. A document whose
	// key has none is not among them.
	Namesakes(ctx context.Context, source, kind, id string, limit int) ([]*Document, error)
	// Entities lists documents of one source and kind by id, ascending. Ones
	// never fetched are left out.
	Entities(ctx context.Context, f EntityFilter) (Page[*Document], error)
	// EventByID returns the rows with that id: one per source that has it, or
	// only that of source if it is not "". None: ErrNotFound.
	EventByID(ctx context.Context, source, id string) ([]*EventRow, error)
	// Events lists rows, newest received_at first.
	Events(ctx context.Context, f EventFilter) (Page[*EventRow], error)
	// Acts lists the notes of kind NoteOperator, newest first.
	Acts(ctx context.Context, f NoteFilter) (Page[*Note], error)
	// NoteByID returns a note, or ErrNotFound.
	NoteByID(ctx context.Context, id string) (*Note, error)
	// CountEvents counts what a filter selects; Limit and Cursor are ignored. With a
	// Note only rows with that note are read.
	CountEvents(ctx context.Context, f EventFilter) (int64, error)
	// Passages returns how the newest n events of the log have fared, those received
	// last first. It reads n rows by index and none of their payloads.
	Passages(ctx context.Context, n int) ([]Passage, error)
}

// Page is one page of a list.
type Page[T any] struct {
	Items []T
	// NextCursor is "" on the last page.
	NextCursor string
}

// EntityFilter selects documents. Source and Kind are required; zero values
// of the rest select all.
type EntityFilter struct {
	Source, Kind string
	Status       string
	// Parent selects by one parent id: {"account", "cusa_…"}. Zero: all.
	Parent struct{ Kind, ID string }
	// From and To bound synced_at: from ≤ synced_at < to.
	From, To time.Time
	// Limit is the page size, 1 to 200. Defaults to 50.
	Limit  int
	Cursor string
}

// EventFilter selects rows; zero values select all.
type EventFilter struct {
	Status EventStatus
	Type   string
	Source string
	// Kind selects events that name an entity of that kind.
	Kind string
	// Entity selects events that name this entity.
	Entity event.Key
	// Note selects events with this note.
	Note event.Note
	// From and To bound received_at: from ≤ received_at < to.
	From, To time.Time
	// Limit is the page size, 1 to 200. Defaults to 50.
	Limit  int
	Cursor string
}
