package entity

import (
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
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

	// owed is the version that the change feed may lack, as the claimed document or the
	// write says; 0 if it has it.
	owed int64
	// changes: the write under way changes what the document says of the entity.
	changes bool

	v         verdict
	settledTo time.Time // when the newest event settled so far was created

	cause   error        // what the sync failed for
	failure fate.Failure // and what is known about that
	class   fate.Class   // of the cause, as it is charged or buried
	plan    plan         // how it is parked

	// called: a command made a parked entity due before its time. covers: answered
	// commands wait for the fetch.
	called, covers bool

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
//
// Hints alone need no kind: commands of a kind that is no more end as dead.
func (y *sync) known() {
	if y.kind == nil && (y.lane.retry || !onlyHints(y.lane.queue)) {
		y.undefined()
		return
	}
	y.do(Lock{Sync: y.number, Key: y.ref.Key}, y.locked)
}

func (y *sync) undefined() {
	y.failed(fate.Errorf(fate.Undefined, "sync %s: the definition of source %s has no such kind", y.ref.Key, y.ref.Key.Source))
}

// locked takes the batch, as late as can be, performs the commands if there may be any,
// and takes the claim.
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
	if y.summary.commands || y.called {
		y.do(Perform{Sync: y.number, Key: y.ref.Key, Class: y.lane.class}, y.performed)
		return
	}
	y.claim()
}

// performed: the commands of the lane are performed as far as they can be. What waits or
// failed of them waits by itself, so there is nothing to fetch for hints alone unless a
// command was answered.
func (y *sync) performed(r Result) {
	switch y.covers, y.owed = r.Yes, r.Owed; {
	case r.Err != nil:
		y.failed(r.Err)
	case !r.Yes && y.hintsAlone():
		y.unlocked(y.passed)
	case y.kind == nil:
		y.undefined()
	default:
		y.claim()
	}
}

// passed ends a sync of hints for which nothing is to be fetched. Their rows remain.
func (y *sync) passed(Result) {
	if y.lane.retry {
		y.do(Unpark{Sync: y.number, Key: y.ref.Key, Batch: y.batch, Owed: y.owed}, draining{y}.passed)
		return
	}
	y.s.emit(Ack{Sync: y.number, Source: y.ref.Key.Source, Batch: y.batch, Owed: y.owed})
	y.free()
	y.lane.goOn(len(y.batch))
}

func (y *sync) claim() {
	y.do(Claim{Sync: y.number, Ref: y.ref, Forget: y.summary.forget(), Batch: y.batch, Again: y.parked.Failed}, asking{y}.claimed)
}

// hintsAlone reports whether the sync is of hints alone. The lane of a ref never has anything
// else, however much of it was parked.
func (y *sync) hintsAlone() bool {
	if _, ref := storage.RefOfLane(y.ref.Key); y.lane.retry && !ref && y.parked.Len > len(y.batch) {
		return false // what else is parked is not known
	}
	return onlyHints(y.batch)
}

// onlyHints reports whether entries say nothing but that their lane has commands.
func onlyHints(entries []event.Entry) bool {
	return !slices.ContainsFunc(entries, func(e event.Entry) bool { return e.Signal.Cause != event.CauseCommand })
}

// nothing ends a sync that found nothing to do.
func (y *sync) nothing() {
	y.finish(nil)
	y.lane.goOn(0)
}
