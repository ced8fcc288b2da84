package entity

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// PageSize is how many entries of a parked entity are handled at a time.
const PageSize = 200

// sync is one sync of one lane, from its start to its outcome. It goes through
// phases, each of which is a type over the same sync:
//
//	sync      load ─ lock ─ take ─ claim
//	asking    under which parents does the provider have it?      ask.go
//	judging   does the answer show what is known?                 verdict.go
//	writing   believe ─ record ─ write ─ look again               write.go
//	settling  the outcome of each event                           outcome.go
//	failing   what becomes of it if one of these failed           failure.go
//	parking   head settled ─ counted ─ gate ─ parked              park.go
//	burying   dead letters                                        bury.go
//	draining  what was parked, page by page                       retry.go
//
// Their methods that take a Result are the steps. Each is called with the result of
// the task that the one before it emitted.
type sync struct {
	facts
	number Number
	lane   *lane
	// next is what the result of the task under way is for.
	next func(Result)

	// batch is what the sync covers: what waited when the claim was taken. Of a
	// parked entity it is the first page of that, and summary is of all pages.
	batch []event.Entry
	// parked and state are those of a parked entity, zero for others.
	parked Parked
	state  waiting.Record

	// sets are the parents to ask for the entity under, in order, and at is the one
	// being asked. gone, refused and stub are what those before it said. mixed: they
	// disagree, and none has the entity.
	sets          []map[string]string
	at            int
	gone, refused error
	stub          *provider.Snapshot
	mixed         bool

	v         verdict
	settledTo time.Time // when the newest event settled so far was created

	cause   error        // what the sync failed for
	failure fate.Failure // and what is known about that
	class   fate.Class   // of the cause, as it is charged or buried
	plan    plan         // how it is parked

	page    []event.Entry // of what is parked, being dealt with
	handled int           // how many before it are
	buries  bool          // pages are buried and not settled
	waits   bool          // for a Settled

	hasLock, freed, over bool
}

// The phases of a sync.
type (
	asking   struct{ *sync }
	judging  struct{ *sync }
	writing  struct{ *sync }
	settling struct{ *sync }
	failing  struct{ *sync }
	parking  struct{ *sync }
	burying  struct{ *sync }
	draining struct{ *sync }
)

// begin: a sync of a parked entity first reads what waits for it.
func (y *sync) begin() {
	if y.lane.retry {
		y.do(Load{Sync: y.number, Key: y.ref.Key, Kind: y.kind}, y.loaded)
		return
	}
	y.known()
}

func (y *sync) loaded(r Result) {
	switch {
	case r.Err != nil:
		y.failed(r.Err)
	case len(r.Entries) == 0:
		y.nothing()
	default:
		y.parked, y.state, y.batch, y.summary = r.Parked, r.Parked.State, r.Entries, r.Batch
		y.known()
	}
}

// known: the kind must be defined here. That comes before the claim, which would
// make a document.
func (y *sync) known() {
	if y.kind == nil {
		y.failed(fate.Errorf(fate.Undefined, "sync %s: the definition of source %s has no such kind", y.ref.Key, y.ref.Key.Source))
		return
	}
	y.do(Lock{Sync: y.number, Key: y.ref.Key}, y.locked)
}

// locked takes the batch, as late as can be, and the claim.
func (y *sync) locked(Result) {
	y.hasLock = true
	if !y.lane.retry {
		y.batch = y.lane.queue
		n := y.summary.Add(y.kind, y.batch)
		y.batch = y.batch[:n:n]
	}
	if len(y.summary.hints) > 0 {
		y.ref.Parents = y.summary.hints[0] // for a document that is made
	}
	if set, ok := qualifiers(y.kind, y.ref.Key); ok {
		y.ref.Parents = set
	}
	y.do(Claim{Sync: y.number, Ref: y.ref, Forget: y.summary.forget(), Batch: y.batch, Again: y.parked.Failed}, asking{y}.claimed)
}

// nothing ends a sync that found nothing to do.
func (y *sync) nothing() {
	y.finish(nil)
	y.lane.goOn(0)
}
