package entity

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// Effect is something to be done.
type Effect interface{ effect() }

// Task is an Effect that a sync waits for. It is answered by a Done with the same
// number; the comment of each says with which fields of Result. It may be answered
// with Err instead, except Lock, Unlock, Report and Park: one that cannot be done is
// not answered. A sync waits for one task at a time.
type Task interface {
	Effect
	// For is the sync that waits for it.
	For() Number
}

// Ready: the lane could sync now. It is answered by a Start when its turn has
// come, there is budget, and a slot is free. A Ready for a lane that has had one
// replaces it.
type Ready struct {
	Lane   ID
	Class  event.Class
	Oldest string // the stream id of the oldest entry that waits
	Failed bool   // the entity failed before
}

// Begun: a sync has begun, by a Start. It has a slot until Free.
type Begun struct {
	Sync Number
	Lane ID
}

// Free: the sync needs its slot no longer. Its batch may still be on its way to
// the log.
type Free struct{ Sync Number }

// Load reads what is parked for an entity: the first page as Entries, the summary of
// all pages as Batch, and Parked.
type Load struct {
	Sync Number
	Key  event.Key
	Kind *provider.Kind
}

// Lock takes the entity's lock. The lock saves fetches and proves nothing, so
// this is answered whether it was free or not.
type Lock struct {
	Sync Number
	Key  event.Key
}

// Unlock releases the entity's lock. The answer is empty.
type Unlock struct{ Sync Number }

// Perform performs the commands of a lane, as far as they can be. It is emitted only where
// a signal, or a Call, says that there may be some. Answered with Yes: answered commands
// wait for a fetch whose claim is taken after this. Otherwise Owed is the version of the
// entity that the change feed may lack.
type Perform struct {
	Sync Number
	Key  event.Key
	// Class is that of the token that the sync began with.
	Class event.Class
}

// Cover makes the commands done that the Perform of the sync found answered.
type Cover struct {
	Sync Number
	By   storage.Covered
}

// Echo: the answer carries an application's own name for the entity, which the mirror's
// state did not. The name is bound to the entity, and the command that has created it is
// answered by that.
type Echo struct {
	Sync Number
	Ref  event.Ref
	Name string
}

// Claim removes the marks of the causes in Forget, so that a further signal of them is
// appended again. Then it raises the claim on the entity's document. Answered with
// Document, which has a marker if the entity is erased: its work is then settled so, and
// the provider is not asked.
type Claim struct {
	Sync   Number
	Ref    event.Ref
	Forget []event.Cause
	Batch  []event.Entry // for the trace, and never empty
	Again  bool          // the entity failed before: a new trace begins
}

// Fetch asks the provider for the entity under the parents of Ref. Answered with
// Snapshot. Further: it is not the first request of the sync, so it takes a
// token of its own.
type Fetch struct {
	Sync    Number
	Ref     event.Ref
	Why     string
	Class   event.Class
	Further bool
}

// Report passes the provider's final answer to the source.
type Report struct {
	Sync     Number
	Ref      event.Ref
	Document *storage.Document
	Snapshot *provider.Snapshot
	Err      error
	Class    event.Class
	// Foreseen: a sweep has found the entity different, so that it may be
	// missing for a good reason.
	Foreseen bool
	// Emptied: the answer is a root list without elements of which the mirror
	// holds some.
	Emptied bool
}

// Consult asks the source a question about a failure. Answered with Yes; for
// fate.Refusing with OfKind, which is also of a scope; and for fate.Believable with
// After: how long to wait until it is asked again.
type Consult struct {
	Sync     Number
	Key      event.Key
	Parents  map[string]string // under which it was asked for
	Question fate.Question
	Class    event.Class
	Err      error // the failure
	// Since is when the provider first had no such entity, by Redis' clock. It is zero
	// if Emptied: the worker keeps that time itself.
	Since    time.Time
	Emptied  bool // it is about a list's elements
	Foreseen bool
}

// Time asks Redis for its clock. Answered with Now.
type Time struct{ Sync Number }

// Record stores a discrepancy and alerts.
type Record struct {
	Sync        Number
	Discrepancy storage.Discrepancy
	Reason      string
}

// Write writes the answer to the store under the sync's claim, and supersedes
// the entity's dead letters of lower claims. Err is fate.ErrOvertaken if a later claim
// was taken meanwhile.
type Write struct {
	Sync  Number
	Write *storage.Write
}

// LookAgain appends a signal that causes one more fetch after a pause, unless one is
// on its way.
type LookAgain struct {
	Sync    Number
	Ref     event.Ref
	CauseID string
	After   time.Duration
}

// Settle writes outcomes to the log. It is answered by Settled. Those of one
// entity are written in the order of their Settles.
type Settle struct {
	Sync  Number
	Key   event.Key
	Batch []event.Entry
	// Outcomes are those of the events in Batch, Repaired the ids of
	// discrepancies, and Taken whether their repair succeeded.
	Outcomes []storage.Settlement
	Repaired []string
	Taken    bool
	// Waited: the sync goes on only when it is answered. A refusal ends it, and
	// it is not tried again by itself.
	Waited bool
	// Alerted: an alert that the store refuses it was raised before.
	Alerted bool
	// First: Batch[0] is the entry whose trace the sync is in. Again: the entity
	// failed before, and the sync is in none of theirs.
	First, Again bool
}

// Ack removes entries from their stream, once the store holds their outcome.
// Answered by Acked.
type Ack struct {
	Sync   Number
	Source string
	Batch  []event.Entry
	// Owed is the version of the entity that the change feed may lack, 0 if it has it. A
	// hint of it is left by the step that removes the entries.
	Owed int64
}

// Unpark removes entries from the head of what is parked. Answered with Left: how
// many are left. What came meanwhile is due at once.
type Unpark struct {
	Sync  Number
	Key   event.Key
	Batch []event.Entry
	Owed  int64 // as that of Ack
}

// Page reads what is parked, from an offset. Answered with Entries and with Gone:
// how many unreadable ones were removed.
type Page struct {
	Sync Number
	Key  event.Key
	From int
	Most int
}

// Count counts a failed attempt on the rows of events.
type Count struct {
	Sync     Number
	Failures []storage.Failure
}

// Park moves entries of the entity to its parked list, or changes when it is due
// if it is parked already. No reader holds the gate while it is under way.
// A spilled lane has no sync, and its Park is not answered.
type Park struct {
	Sync Number
	Lane ID
	// Charged and Waiting are the entries in flight: those the failed attempt was
	// for, and those that came since.
	Charged, Waiting []event.Entry
	// Tried is how many of what is parked a failed retry was for. 0: all of it.
	Tried    int
	Attempt  int
	Delay    time.Duration
	Earliest time.Duration
	// State is nil for a lane that was spilled.
	State *waiting.Record
	// Counted: the attempt was charged. Cause is what failed. Both are for the log.
	Counted bool
	Cause   error
}

// Bury writes dead letters, alerts of them, and removes the marks of their events.
type Bury struct {
	Sync  Number
	Key   event.Key
	Class fate.Class
	Batch []event.Entry
	// Letters are the dead letters of the events in Batch, in order, without traces.
	// Failed are discrepancies whose repair is given up.
	Letters []storage.Letter
	Failed  []string
	// Error is the failure that ended the work.
	Error string
}

// Rest is answered by Woke after a while.
type Rest struct {
	Lane  ID
	After time.Duration
}

// Lag: a read lags behind its event and is repeated.
type Lag struct{ Key event.Key }

// Charge: an attempt of a class has failed and counts.
type Charge struct {
	Key   event.Key
	Class fate.Class
}

// End: nothing of the sync is under way any more.
type End struct {
	Sync Number
	Err  error
}

// Entered: the reader that asked to Enter holds the gate.
type Entered struct{}

// Quiet: the shard is closing and no sync is under way any more.
type Quiet struct{}

func (Ready) effect()     {}
func (Begun) effect()     {}
func (Free) effect()      {}
func (Unlock) effect()    {}
func (Load) effect()      {}
func (Lock) effect()      {}
func (Perform) effect()   {}
func (Cover) effect()     {}
func (Echo) effect()      {}
func (Claim) effect()     {}
func (Fetch) effect()     {}
func (Report) effect()    {}
func (Consult) effect()   {}
func (Time) effect()      {}
func (Record) effect()    {}
func (Write) effect()     {}
func (LookAgain) effect() {}
func (Settle) effect()    {}
func (Ack) effect()       {}
func (Unpark) effect()    {}
func (Page) effect()      {}
func (Count) effect()     {}
func (Park) effect()      {}
func (Bury) effect()      {}
func (Rest) effect()      {}
func (Lag) effect()       {}
func (Charge) effect()    {}
func (End) effect()       {}
func (Entered) effect()   {}
func (Quiet) effect()     {}

// For returns e.Sync.
func (e Load) For() Number { return e.Sync }

// For returns e.Sync.
func (e Lock) For() Number { return e.Sync }

// For returns e.Sync.
func (e Unlock) For() Number { return e.Sync }

// For returns e.Sync.
func (e Perform) For() Number { return e.Sync }

// For returns e.Sync.
func (e Cover) For() Number { return e.Sync }

// For returns e.Sync.
func (e Echo) For() Number { return e.Sync }

// For returns e.Sync.
func (e Claim) For() Number { return e.Sync }

// For returns e.Sync.
func (e Fetch) For() Number { return e.Sync }

// For returns e.Sync.
func (e Report) For() Number { return e.Sync }

// For returns e.Sync.
func (e Consult) For() Number { return e.Sync }

// For returns e.Sync.
func (e Time) For() Number { return e.Sync }

// For returns e.Sync.
func (e Record) For() Number { return e.Sync }

// For returns e.Sync.
func (e Write) For() Number { return e.Sync }

// For returns e.Sync.
func (e LookAgain) For() Number { return e.Sync }

// For returns e.Sync.
func (e Unpark) For() Number { return e.Sync }

// For returns e.Sync.
func (e Page) For() Number { return e.Sync }

// For returns e.Sync.
func (e Count) For() Number { return e.Sync }

// For returns e.Sync.
func (e Park) For() Number { return e.Sync }

// For returns e.Sync.
func (e Bury) For() Number { return e.Sync }
