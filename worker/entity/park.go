package entity

import (
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// plan is how a sync parks its entity.
type plan struct {
	charged         bool // it counts as an attempt
	reason          waiting.Reason
	delay, earliest time.Duration
	at              time.Time // when the attempt failed, for all rows the same
	counted         int       // entries on whose rows it is counted
}

// park parks the entity with all that waits for it: the head is settled, the failure
// noted, the gate entered, in this order.
func (y parking) park(p plan) {
	p.at = y.s.now.UTC()
	y.plan = p
	class, _ := fate.Of(y.cause)
	y.state.Why = &waiting.Why{Reason: p.reason, Class: class.String(), At: p.at, Error: Text(y.cause)}
	y.lane.afterHead(y.sync)
}

// headSettled: while the store refuses an earlier settlement of the entity, nothing is
// noted or parked, and the sync is made again.
func (y parking) headSettled(ok bool) {
	switch {
	case !ok:
		y.again(fmt.Errorf("%w that comes before; the failure: %w", errRefused, y.cause))
	case y.plan.reason != waiting.Unsettled: // the store that refuses a settlement may refuse this
		page := y.batch
		if len(page) == 0 { // it failed before it took its batch
			page = y.lane.queue
		}
		y.count(page)
	default:
		y.enterGate()
	}
}

// count notes the failure, and the attempt if it is charged, on the rows of one page of
// what waited. All rows get one time, by which the store knows a failure it has counted.
func (y parking) count(page []event.Entry) {
	y.plan.counted += len(page)
	y.do(Count{Sync: y.number, Failures: y.failures(page)}, y.counted)
}

func (y parking) counted(r Result) {
	seen := y.plan.counted
	switch {
	case r.Err != nil:
		y.notCounted(r.Err)
	case !y.lane.retry || seen >= y.parked.Len:
		y.enterGate()
	default:
		y.do(Page{Sync: y.number, Key: y.ref.Key, From: seen, Most: min(y.s.cfg.Page, y.parked.Len-seen)}, y.nextToCount)
	}
}

func (y parking) nextToCount(r Result) {
	y.parked.Len -= r.Gone
	switch {
	case r.Err != nil:
		y.notCounted(r.Err)
	case len(r.Entries) == 0:
		y.enterGate()
	default:
		y.count(r.Entries)
	}
}

// notCounted: the failure could not be noted, so the failure is decided again.
func (y parking) notCounted(err error) {
	y.cause = err
	y.failure = fate.Failure{Err: err, Unfinished: true}
	failing(y).decide(Result{})
}

// failures are the log's side of a failure on some entries.
func (y parking) failures(entries []event.Entry) []storage.Failure {
	class, _ := fate.Of(y.cause)
	var claim int64 // 0: it failed before its claim
	if y.doc != nil {
		claim = y.doc.Claim
	}
	var out []storage.Failure
	for _, e := range entries {
		if e.Signal.Cause != event.CauseEvent {
			continue
		}
		out = append(out, storage.Failure{
			Source: y.ref.Key.Source, EventID: e.Signal.CauseID, Entity: y.ref.Key,
			Signal: storage.SignalID{Shard: y.s.cfg.Shard, ID: e.ID}, At: y.plan.at, Class: class.String(), Error: Text(y.cause),
			Uncharged: !y.plan.charged, Next: y.plan.at.Add(y.plan.delay), Claim: claim,
		})
	}
	return out
}

func (y parking) enterGate() {
	y.s.gate.enter(func() { y.do(y.parkNow(), y.parkedNow) })
}

// parkNow moves the entries in flight. No entry of the entity is read meanwhile.
func (y parking) parkNow() Park {
	p := Park{
		Sync: y.number, Lane: y.lane.id, Waiting: y.lane.queue, Attempt: y.parked.Attempt,
		Delay: y.plan.delay, Earliest: y.plan.earliest, State: &y.state, Counted: y.plan.charged, Cause: y.cause,
	}
	switch n := len(y.batch); {
	case y.plan.charged && y.lane.retry:
		p.Tried = y.parked.Len
	case y.plan.charged:
		p.Charged, p.Waiting = p.Waiting[:n], p.Waiting[n:]
	}
	return p
}

func (y parking) parkedNow(Result) {
	y.lane.leave()
	y.finish(y.cause)
	y.s.gate.leave()
}
