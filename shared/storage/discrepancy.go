package storage

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// DiscrepancyType is in what way provider and mirror differed.
type DiscrepancyType string

// The types of a discrepancy.
const (
	Missing         DiscrepancyType = "missing"          // the provider has it, the mirror does not
	Stale           DiscrepancyType = "stale"            // the states differ
	Deleted         DiscrepancyType = "deleted"          // the mirror has it alive, the provider does not
	Unexpected      DiscrepancyType = "unexpected"       // the mirror has it as deleted, the provider does not
	Moved           DiscrepancyType = "moved"            // the states agree, the parents differ
	SharedID        DiscrepancyType = "shared_id"        // the provider has another entity with the id under other parents; the mirror keeps one
	EventMissed     DiscrepancyType = "event_missed"     // the provider sent an event that never came
	Rewritten       DiscrepancyType = "rewritten"        // the provider took back history
	Doubled         DiscrepancyType = "doubled"          // the provider has another entity with an application's own name for one
	SubscriptionGap DiscrepancyType = "subscription_gap" // the provider does not send what the definition expects
)

// DiscrepancyTypes returns all types.
func DiscrepancyTypes() []DiscrepancyType {
	return []DiscrepancyType{Missing, Stale, Deleted, Unexpected, Moved, SharedID, EventMissed, Rewritten, Doubled, SubscriptionGap}
}

// DiscrepancyStatus is the status of a discrepancy. Repair does not wait for
// the judgement: a suspected one may have been repaired already.
type DiscrepancyStatus string

// The statuses of a discrepancy.
const (
	Suspected DiscrepancyStatus = "suspected" // found; an event under way may explain it
	Dropped   DiscrepancyStatus = "dropped"   // an event explained it: it was none
	Confirmed DiscrepancyStatus = "confirmed" // nothing explained it
	Repaired  DiscrepancyStatus = "repaired"  // confirmed, and the mirror is true again
	Failed    DiscrepancyStatus = "failed"    // confirmed, and the repair was given up
)

// Discrepancy is something found different between provider and mirror.
type Discrepancy struct {
	// ID makes recording twice harmless.
	ID     string
	Source string
	// Entity is the one that differs. Its ID is empty for a subscription_gap, and for
	// an event_missed whose event names no entity.
	Entity event.Key
	Type   DiscrepancyType
	Status DiscrepancyStatus
	// EventID is the event of an event_missed.
	EventID string
	// SweepID is the task that found it.
	SweepID string
	// Patch is an RFC 6902 patch from the mirror's state to the provider's, with a
	// test of each value that is replaced or removed, secret fields left out. Nil where there is nothing to compare.
	Patch []byte
	// FoundAt is when the provider's answer that shows it was asked for.
	FoundAt time.Time
	// StateHash is that of the state the provider showed, or StateGone;
	// SyncedClaim is the document's synced_claim when it was compared. Of a document
	// that the database had lost it is the highest claim in the log, 0 if there was
	// none. A state written under a higher claim came after the comparison.
	// StateHash is "" where nothing was compared, or an older version recorded it:
	// SyncedClaim then says nothing.
	StateHash   string
	SyncedClaim int64
	// SyncedAt is the document's synced_at when it was compared. Zero: there was
	// no document, or an older version recorded it.
	SyncedAt time.Time
	// JudgedAt is when it was confirmed or dropped, RepairedAt when a sync
	// after it was written or gave up. Zero until then.
	JudgedAt, RepairedAt time.Time
}

// DiscrepancyFilter selects discrepancies; zero values select all.
type DiscrepancyFilter struct {
	Status DiscrepancyStatus
	Type   DiscrepancyType
	Source string
	Kind   string
	Entity event.Key
	// SweepID selects those one sweep found.
	SweepID string
	// From and To bound found_at: from ≤ found_at < to.
	From, To time.Time
	// Limit is the page size, 1 to 200. Defaults to 50.
	Limit  int
	Cursor string
}

// Discrepancies is the part of Store that keeps what sweeps find.
type Discrepancies interface {
	// Record adds discrepancies; one whose ID is there is left as it is, but for
	// one that was dropped and is found again, at a later FoundAt: it is as if
	// recorded for the first time. Status is Suspected unless given. One of an erased
	// entity is not recorded.
	Record(ctx context.Context, found []Discrepancy) error

	// Judge confirms or drops suspected discrepancies, by id, and sets judged_at. A
	// confirmed one whose repair has ended already (see Repair) becomes Repaired or
	// Failed at once. Ones judged before are left. It returns those it judged, as
	// they are now: what is to be counted and alerted on.
	Judge(ctx context.Context, confirmed, dropped []string, at time.Time) ([]Discrepancy, error)

	// Repair records how the repair of discrepancies, by id, ended, and sets
	// repaired_at. Confirmed ones become Repaired or Failed; suspected ones stay so
	// until judged. A failed repair may succeed later; a success never becomes a
	// failure. Unknown ids are ignored.
	Repair(ctx context.Context, ids []string, ok bool, at time.Time) error

	// Discrepancies lists them, newest found_at first.
	Discrepancies(ctx context.Context, f DiscrepancyFilter) (Page[*Discrepancy], error)
}
