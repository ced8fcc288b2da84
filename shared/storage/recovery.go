package storage

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// Requeue says which stream entry is the current one of an open outcome.
type Requeue struct {
	Source, EventID string
	Entity          event.Key
	Signal          SignalID
}

// Recovery is the part of Store by which work that Redis has lost is found and
// appended again.
type Recovery interface {
	// Unsettled pages through the rows of a source that have open outcomes and were
	// received before a time, oldest first. It returns up to limit rows and the
	// cursor of the next page, "" on the last. Rows that are settled or come
	// meanwhile do not disturb the paging. The signal of an outcome is the current
	// entry: the event's own, or that of its latest redelivery, for the primary
	// entity; none (an empty id) for a further one that has neither failed nor been
	// requeued.
	Unsettled(ctx context.Context, source string, before time.Time, limit int, cursor string) (rows []*EventRow, next string, err error)

	// Requeued stores the current entries of open outcomes. Settled ones
	// are left.
	Requeued(ctx context.Context, again []Requeue) error

	// KnownEvents answers which of the ids have a row in the log of a source.
	KnownEvents(ctx context.Context, source string, ids []string) (map[string]bool, error)

	// Homes answers, for those of the ids that have a row in the log of a source,
	// the key whose shard holds the event's own entry, as event.Event.Home does.
	Homes(ctx context.Context, source string, ids []string) (map[string]event.Key, error)
}

// Verified is an entity that a sweep found equal to the mirror.
type Verified struct {
	Key event.Key
	// StateHash is the one that was compared. If the document has another by
	// now, nothing is written.
	StateHash string
	// Deleted says that the mirror has it as deleted and so does the provider.
	// If the document is otherwise by now, nothing is written.
	Deleted bool
	// At is when the request whose answer was compared was sent.
	At time.Time
}

// DueFilter selects documents that sweeps have to check by id. All fields are
// required but After.
type DueFilter struct {
	Source, Kind string
	// VerifiedBefore selects those not verified since.
	VerifiedBefore time.Time
	// TerminalBefore leaves out what has been terminal or deleted since before
	// then and was verified since. (The write that says so verifies.)
	TerminalBefore time.Time
	// After is the id to go on behind. "" starts at the first.
	After string
	// Limit is the most documents answered, 1 to 1,000.
	Limit int
}

// Staleness is how long ago documents of a kind were last known to be true.
type Staleness struct {
	Kind string
	// Oldest is the least verified_at among those that are neither terminal nor
	// deleted. Zero: one of them was fetched and never believed.
	Oldest time.Time
}

// Verification is the part of Store that sweeps read and write.
type Verification interface {
	// Documents returns the documents of the keys that the mirror holds, those
	// never fetched included, in no order.
	Documents(ctx context.Context, keys []event.Key) ([]*Document, error)

	// Verify moves verified_at up to At, where it is earlier and the state
	// hash is still the compared one. It is the only method by which the reconciler
	// says anything about a document's state. Bulk writes; it returns how many were
	// moved.
	Verify(ctx context.Context, same []Verified) (int, error)

	// DueForVerify lists fetched documents to be checked, by id. Nearly all of a
	// kind may have to be passed over to find one, so one call reads a bounded
	// number of documents and answers those that are due among them, which may
	// be none, and the id to go on behind; "" if it has reached the end.
	DueForVerify(ctx context.Context, f DueFilter) (due []*Document, next string, err error)

	// Living returns up to limit fetched documents of a kind that are not
	// deleted: those that are not terminal, the one verified last first, before
	// those that are.
	Living(ctx context.Context, source, kind string, limit int) ([]*Document, error)

	// Unfetched counts the documents of some kinds of a source that workers have
	// asked for and never had.
	Unfetched(ctx context.Context, source string, kinds []string) (int64, error)

	// FirstUnfetched returns up to limit of those of one kind, in no order.
	FirstUnfetched(ctx context.Context, source, kind string, limit int) ([]*Document, error)

	// Staleness answers for those of some kinds of a source of which the mirror
	// has fetched something that is neither terminal nor deleted.
	Staleness(ctx context.Context, source string, kinds []string) ([]Staleness, error)
}
