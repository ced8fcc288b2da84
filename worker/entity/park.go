package entity

import (
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/mirror"
)

// parking is how a sync parks its entity.
type parking struct {
	charged         bool // it counts as an attempt
	delay, earliest time.Duration
	at              time.Time // when the attempt failed, for all rows the same
	counted         int       // entries on whose rows it is counted
}

// park puts the entity and all that waits for it to wait in Redis: head settled,
// attempt counted, gate entered, in this order.
func (y *sync) park(charged bool, delay, earliest time.Duration) {
	y.parking = parking{charged: charged, delay: delay, earliest: earliest, at: y.s.now.UTC()}
	y.lane.afterHead(y)
}

// headSettled: while the store refuses what was settled before for the entity,
// nothing is counted or parked, and the sync is made again.
func (y *sync) headSettled(ok bool) {
	switch {
	case !ok:
		y.again(fmt.Errorf("%w that comes before; the failure: %w", errRefused, y.cause))
	case y.parking.charged:
		y.count(y.batch)
	default:
		y.enterGate()
	}
}

// count counts the attempt on the rows of one page of what waited. All rows get
// one time, by which the store knows a failure it has counted.
func (y *sync) count(page []event.Entry) {
	y.parking.counted += len(page)
	y.do(Count{Sync: y.number, Failures: y.failures(page)}, (*sync).counted)
}

func (y *sync) counted(r Result) {
	seen := y.parking.counted
	switch {
	case r.Err != nil:
		y.notCounted(r.Err)
	case !y.lane.retry || seen >= y.parked.Len:
		y.enterGate()
	default:
		y.do(Page{Sync: y.number, Key: y.ref.Key, From: seen, Most: min(PageSize, y.parked.Len-seen)}, (*sync).nextToCount)
	}
}

func (y *sync) nextToCount(r Result) {
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

// notCounted: what was decided could not be done, so it is decided again.
func (y *sync) notCounted(err error) {
	y.cause = err
	y.failure = fate.Failure{Err: err, Unfinished: true}
	y.decide(Result{})
}

// failures are the log's side of a charged attempt on some entries.
func (y *sync) failures(entries []event.Entry) []mirror.Failure {
	class, _ := fate.Of(y.cause)
	var out []mirror.Failure
	for _, e := range entries {
		if e.Signal.Cause != event.CauseEvent {
			continue
		}
		out = append(out, mirror.Failure{
			Source: y.ref.Key.Source, EventID: e.Signal.CauseID, Entity: y.ref.Key,
			Signal: mirror.SignalID{Shard: y.s.cfg.Shard, ID: e.ID}, At: y.parking.at, Class: class.String(), Error: Text(y.cause),
			Claim: y.doc.Claim,
		})
	}
	return out
}

func (y *sync) enterGate() {
	y.s.gate.enter(func() { y.do(y.parkNow(), (*sync).parkedNow) })
}

// parkNow moves what is in hand. No entry of the entity is read meanwhile.
func (y *sync) parkNow() Park {
	p := Park{
		Sync: y.number, Lane: y.lane.id, Waiting: y.lane.queue, Attempt: y.parked.Attempt,
		Delay: y.parking.delay, Earliest: y.parking.earliest, State: &y.state, Counted: y.parking.charged, Cause: y.cause,
	}
	switch n := len(y.batch); {
	case y.parking.charged && y.lane.retry:
		p.Tried = y.parked.Len
	case y.parking.charged:
		p.Charged, p.Waiting = p.Waiting[:n], p.Waiting[n:]
	}
	return p
}

func (y *sync) parkedNow(Result) {
	y.lane.leave()
	y.finish(y.cause)
	y.s.gate.leave()
}

// bury gives the batch up. The lane goes on with what came since.
func (y *sync) bury() {
	y.class, _ = fate.Of(y.cause)
	y.state.add(Attempt{N: y.parked.Attempt + 1, At: y.s.now.UTC(), Error: lastText(y.class, y.cause)})
	if y.lane.retry {
		y.burying = true
		y.eachPage()
		return
	}
	y.do(y.letters(y.batch), (*sync).buried)
}

func (y *sync) buried(r Result) {
	if r.Err != nil {
		y.again(r.Err)
		return
	}
	y.s.emit(Ack{Sync: y.number, Source: y.ref.Key.Source, Batch: y.batch})
	y.free()
	y.lane.goOn(len(y.batch))
}

// letters are the dead letters of the events among the entries, the attempt that
// has just failed included.
func (y *sync) letters(entries []event.Entry) Bury {
	b := Bury{Sync: y.number, Key: y.ref.Key, Batch: entries, Class: y.class, Failed: discrepancies(entries)}
	for _, e := range entries {
		if e.Signal.Cause != event.CauseEvent {
			continue
		}
		ref := e.Signal.Ref // its own parents, which another letter's are not
		if len(ref.Parents) == 0 {
			ref = y.ref
		}
		l := mirror.Letter{
			Source: y.ref.Key.Source, EventID: e.Signal.CauseID, Ref: ref,
			Signal: mirror.SignalID{Shard: y.s.cfg.Shard, ID: e.ID}, Class: y.class.String(),
			Attempts: y.state.since(y.parked.Attempt - e.Attempts), At: y.s.now.UTC(),
		}
		if y.doc != nil {
			l.Claim = y.doc.Claim
		}
		b.Letters = append(b.Letters, l)
	}
	return b
}
