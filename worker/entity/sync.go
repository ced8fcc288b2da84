package entity

import (
	"bytes"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
)

// PageSize is how many entries of a parked entity are handled at a time.
const PageSize = 1000

// sync is one sync of one lane, from its start to its outcome. Its methods that
// take a Result are its states: each is called with what came of the effect that
// the one before it asked for.
type sync struct {
	s      *Shard
	number Number
	lane   *lane
	// next is what the result of the effect under way is for.
	next func(*sync, Result)
	// kind is the entity's, nil if this worker's definition has none such.
	kind *provider.Kind
	ref  event.Ref

	// batch is what the sync covers: what waited when the claim was taken. Of a
	// parked entity it is the first page of that, and summary is of all pages.
	batch   []event.Entry
	summary Batch
	// parked and state are those of a parked entity, zero for others.
	parked Parked
	state  State

	doc *mirror.Document
	// sets are the parents to ask for the entity under, in order, and at is the one
	// being asked. gone, refused and stub are what those before it said. mixed: they
	// disagree, and none has the entity.
	sets          []map[string]string
	at            int
	gone, refused error
	stub          *provider.Snapshot
	mixed         bool
	sent          time.Time // when the provider was first asked
	snap          *provider.Snapshot

	v         verdict
	settledTo time.Time // when the newest event settled so far was created

	cause   error        // what the sync failed for
	failure fate.Failure // and what is known about that
	class   fate.Class
	parking parking

	page    []event.Entry // of what is parked, being dealt with
	handled int           // how many before it are
	burying bool          // pages are buried and not settled
	waits   bool          // for a Settled

	hasLock, freed, over bool
}

// do emits an effect and sets what its result is for.
func (y *sync) do(e Effect, next func(*sync, Result)) {
	y.next = next
	y.s.emit(e)
}

// unlocked goes on once the entity's lock is given back: before its lane goes on,
// or its next sync would find it taken.
func (y *sync) unlocked(next func(*sync, Result)) {
	if !y.hasLock {
		next(y, Result{})
		return
	}
	y.hasLock = false
	y.do(Unlock{Sync: y.number}, next)
}

// begin: a sync of a parked entity first reads what waits for it.
func (y *sync) begin() {
	if y.lane.retry {
		y.do(Load{Sync: y.number, Key: y.ref.Key, Kind: y.kind}, (*sync).loaded)
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
	y.do(Lock{Sync: y.number, Key: y.ref.Key}, (*sync).locked)
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
	y.do(Claim{Sync: y.number, Ref: y.ref, Forget: y.summary.forget(), Batch: y.batch, Again: y.parked.failed()}, (*sync).claimed)
}

func (y *sync) claimed(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	y.doc, y.sent = r.Document, y.s.now.UTC()
	y.sets = y.parentSets()
	y.ask()
}

// answered: the provider has answered in full, and the source knows.
func (y *sync) answered(Result) {
	switch class, _ := fate.Of(y.cause); {
	case y.cause == nil:
		y.judge()
	case class == fate.Panic:
		y.failed(y.cause)
	default:
		y.failed(fmt.Errorf("fetch %s: %w", y.ref.Key, y.cause))
	}
}

// report tells the source what the provider answered in the end.
func (y *sync) report(err error) {
	y.cause = err
	y.do(Report{
		Sync: y.number, Ref: y.ref, Document: y.doc, Snapshot: y.snap, Err: err, Class: highest(y.batch),
		Foreseen: y.summary.foreseen, Emptied: err == nil && y.emptied(),
	}, (*sync).answered)
}

// emptied reports whether the answer is a root list without elements of which the
// mirror holds some: most likely it is another account's.
func (y *sync) emptied() bool {
	empty := func(raw []byte) bool {
		return y.s.cfg.Definition(y.ref.Key.Source).IsEmptyRoot(y.ref.Key.Kind, raw)
	}
	return knownAlive(y.doc) && empty(y.snap.Raw) && !empty(y.doc.Raw)
}

// judged: the verdict says that the answer is to be written, or kept out.
func (y *sync) judged() {
	if !y.emptied() {
		y.believed(Result{Yes: true})
		return
	}
	y.do(Consult{Sync: y.number, Key: y.ref.Key, Question: fate.Believable, Class: highest(y.batch), Emptied: true, Foreseen: y.summary.foreseen}, (*sync).believed)
}

func (y *sync) believed(r Result) {
	switch {
	case r.Err != nil:
		y.failed(r.Err)
	case !r.Yes:
		y.hold(r.After, errEmptied)
	case y.v.rewritten: // on record first: once it is written, nothing shows it
		y.do(y.rewritten(), (*sync).recorded)
	default:
		y.recorded(Result{})
	}
}

// rewritten is the record that the provider took back history, once for each
// time it does.
func (y *sync) rewritten() Record {
	return Record{
		Sync: y.number,
		Discrepancy: mirror.Discrepancy{
			ID:     fmt.Sprintf("rewritten/%s/%d", y.ref.Key, y.doc.DoubtedAt.UnixMilli()),
			Source: y.ref.Key.Source, Entity: y.ref.Key, Type: mirror.Rewritten, Status: mirror.Repaired,
			FoundAt: y.s.now.UTC(), JudgedAt: y.s.now.UTC(), RepairedAt: y.s.now.UTC(),
		},
		Reason: "the provider has answered without history the mirror holds since " + y.doc.DoubtedAt.UTC().Format(time.RFC3339),
	}
}

func (y *sync) recorded(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	y.do(Write{Sync: y.number, Write: y.write()}, (*sync).written)
}

// write turns the verdict into what the store is to do.
func (y *sync) write() *mirror.Write {
	w := &mirror.Write{
		Ref: y.ref, Claim: y.doc.Claim, SentAt: y.snap.SentAt,
		Kept: y.v.kept, DoubtedAt: y.v.doubted, Deleted: y.snap.Deleted, LastEvent: y.v.last, ForgetLastEvent: y.lastEventIsAhead(),
	}
	if y.v.kept || w.Deleted || y.unchanged() {
		return w // only the times move
	}
	w.Raw, w.StateHash, w.Status, w.Terminal = y.snap.Raw, y.snap.Hash, y.snap.Status, y.snap.Terminal
	return w
}

// unchanged reports whether the document holds the answer: every byte of it, and
// what the definition makes of it.
func (y *sync) unchanged() bool {
	d, snap := y.doc, y.snap
	return d.DeletedAt.IsZero() && bytes.Equal(d.Raw, snap.Raw) &&
		d.StateHash == snap.Hash && d.Status == snap.Status && d.Terminal == snap.Terminal
}

func (y *sync) written(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	if y.factual() && !y.snap.Deleted && y.parentsDiffer(y.doc.Parents) {
		y.s.cfg.Logger.Info("an entity has moved to other parents", "shard", y.s.cfg.Shard, "entity", y.ref.Key.String())
	}
	if y.v.verify > 0 { // before the batch settles
		y.do(LookAgain{Sync: y.number, Ref: y.ref, CauseID: y.batch[0].Signal.CauseID, After: y.v.verify}, (*sync).lookedAgain)
		return
	}
	y.unlocked((*sync).covered)
}

func (y *sync) lookedAgain(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	y.unlocked((*sync).covered)
}

// covered settles the batch. The lane goes on at once: the settlements of one
// entity keep their order. What is parked is settled page by page.
func (y *sync) covered(Result) {
	if y.lane.retry {
		y.eachPage()
		return
	}
	y.lane.unsettled++
	y.s.emit(y.settle(y.batch))
	y.free()
	y.lane.goOn(len(y.batch))
}

// nothing ends a sync that found nothing to do.
func (y *sync) nothing() {
	y.finish(nil)
	y.lane.goOn(0)
}

// hold makes the lane wait for d with all that is in it. No attempt is charged.
func (y *sync) hold(d time.Duration, cause error) {
	y.finish(cause)
	y.lane.rest(d)
}

// again has the whole sync made again, uncharged, since what it decided could not
// be done. The pause grows each time, for the provider is asked again.
func (y *sync) again(err error) {
	y.lane.redone++
	pause := y.s.spread(refusals, y.lane.redone, 0)
	y.s.cfg.Logger.Warn("could not finish a sync; making it again", "shard", y.s.cfg.Shard, "entity", y.ref.Key.String(), "error", err, "retry_in", pause.Round(time.Millisecond).String())
	y.hold(pause, err)
}

// free gives the slot back, once.
func (y *sync) free() {
	if !y.freed {
		y.freed = true
		y.s.emit(Free{Sync: y.number})
	}
}

// end says that nothing of the sync is under way any more, once.
func (y *sync) end(err error) {
	if y.over {
		return
	}
	y.over = true
	y.s.running--
	y.s.emit(End{Sync: y.number, Err: err})
	y.s.maybeQuiet()
}

// finish ends a sync of which nothing is to be settled.
func (y *sync) finish(err error) {
	y.free()
	y.end(err)
	delete(y.s.syncs, y.number)
}

// knownAlive reports whether the mirror holds the entity and believes it lives.
func knownAlive(d *mirror.Document) bool { return d.Known() && d.DeletedAt.IsZero() }
