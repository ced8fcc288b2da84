package entity

import (
	"errors"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// permissionAgain is how many first retry pauses an entity waits whose kind the
// provider refuses: 30 minutes by default.
const permissionAgain = 30

// soon is how long a lane waits whose source is paused: until the worker has seen
// that it is. away is how long one waits for Redis or the store.
const soon, away = 100 * time.Millisecond, time.Second

var (
	// errEmptied: a root list that the mirror knows with elements is shown without
	// any, and it is not proven that this is the same account's.
	errEmptied = errors.New("a list that had elements has none, which is not proven to be so yet")
	// errRefused is the end of a sync whose settlement the store refuses.
	errRefused = errors.New("the store refused the settlement")
)

// Refusals is the pause before what could not be finished is tried again.
var Refusals = fate.Backoff{First: time.Second, Cap: time.Minute}.WithDefaults()

// failed handles a sync that did not cover its batch.
func (y *sync) failed(err error) {
	y.cause = err
	y.failure = fate.Failure{Err: err, Disagree: y.mixed}
	y.unlocked(failing{y}.decide)
}

// decide carries out the fate of the failure.
func (y failing) decide(r Result) {
	if !fate.Is(y.cause, fate.Throttled) {
		y.state.Throttled = 0
	}
	switch f := fate.Decide(y.failure); f.Do {
	case fate.Ask:
		y.consult(f.Question)
	case fate.Wait:
		y.hold(y.until(f.Until, r), y.cause)
	case fate.Park:
		delay, reason := y.s.cfg.Retry.First, waiting.Undefined
		switch f.Until {
		case fate.ItsTurn:
			delay, reason = y.itsTurn(), waiting.Throttled
		case fate.Permission:
			delay, reason = min(permissionAgain*y.s.cfg.Retry.First, y.s.cfg.Retry.Cap), waiting.Refused
		}
		parking(y).park(plan{reason: reason, delay: delay, earliest: delay})
	case fate.Confirm:
		y.do(Time{Sync: y.number}, y.goneAt)
	case fate.Tombstone:
		y.tombstone()
	case fate.Bury:
		burying(y).bury()
	case fate.Redo:
		y.again(y.cause)
	case fate.Retry:
		y.charge()
	}
}

// consult asks the source what the fate depends on.
func (y failing) consult(q fate.Question) {
	c := Consult{Sync: y.number, Key: y.ref.Key, Parents: y.ref.Parents, Question: q, Class: event.HighestClass(y.batch), Err: y.cause}
	if q == fate.Believable {
		c.Since, c.Foreseen = y.state.GoneSince, y.summary.foreseen
	}
	y.do(c, y.consulted)
}

func (y failing) consulted(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	y.failure.Answer = fate.AnswerOf(r.Yes)
	if r.OfKind {
		y.failure.Answer = fate.OfKind
	}
	if y.failure.Answer == fate.No && fate.Is(y.cause, fate.Throttled) {
		y.state.Throttled++
		y.failure.Throttled = y.state.Throttled
	}
	y.decide(r)
}

// until is how long the lane waits in memory until it tries again.
func (y failing) until(u fate.Until, r Result) time.Duration {
	switch u {
	case fate.StoreBack:
		return away
	case fate.FetchOver: // at random, so that two owners do not meet again
		return time.Duration(50+450*y.s.cfg.Random()) * time.Millisecond
	case fate.Proof:
		return r.After
	}
	return soon
}

// itsTurn is how long an entity waits that alone is answered 429, because the provider
// has locked it: as long as the provider asks.
func (y failing) itsTurn() time.Duration {
	_, asked := fate.Of(y.cause)
	return max(asked, condition.Pauses{}.Length(2*(y.state.Throttled-1)))
}

// goneAt asks again after a pause, since a read may be too early, and then counts the
// entity as gone. A tombstone stays one at once, unless a signal names parents it
// may have moved to.
func (y failing) goneAt(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	wait := y.kind.GoneUnknown
	earliest, reason := min(wait, y.s.cfg.Retry.First), waiting.NeverSeen
	if y.factual() {
		wait, earliest, reason = y.kind.GoneKnown, y.kind.GoneKnown, waiting.NotFound
	}
	if !y.goneBefore() || y.newlyAsked() || r.Now.Before(y.state.GoneSince) { // or Redis' clock was set back
		y.state.GoneSince, y.state.GoneClaim, y.state.GoneUnder = r.Now, y.doc.SyncedClaim, y.sets
	}
	left := wait - r.Now.Sub(y.state.GoneSince)
	if (y.doc.DeletedAt.IsZero() || len(y.sets) > 1) && left > 0 {
		parking(y).park(plan{reason: reason, delay: left, earliest: min(earliest, left)})
		return
	}
	y.failure.Confirmed, y.failure.Alive = true, y.doc.Alive()
	y.decide(r)
}

// goneBefore reports whether the provider has said before that it has no such
// entity, and nothing else since.
func (y failing) goneBefore() bool {
	return !y.state.GoneSince.IsZero() && y.doc != nil && y.state.GoneClaim == y.doc.SyncedClaim
}

// tombstone writes that the entity is gone.
func (y failing) tombstone() {
	y.v = verdict{last: y.newest()}
	y.store(&storage.Write{
		Ref: y.ref, Claim: y.doc.Claim, SentAt: y.sent, Deleted: true, LastEvent: y.v.last, ForgetLastEvent: y.lastEventIsAhead(),
	}, y.tombstoned)
}

func (y failing) tombstoned(r Result) {
	if !y.stored(r) {
		return
	}
	y.cause = nil
	writing(y).cover()
}

// charge counts the failure as an attempt of all that waited, and parks it. What
// has no attempts left is buried instead: it is the head of what is parked.
//
// A look that a command caused before its time is not charged.
func (y failing) charge() {
	if y.called {
		_, asked := fate.Of(y.cause)
		delay := y.s.spread(y.s.cfg.Retry, max(y.parked.Attempt, 1), asked)
		parking(y).park(plan{reason: waiting.Failed, delay: delay, earliest: min(max(y.s.cfg.Retry.First, asked), delay)})
		return
	}
	y.class, _ = fate.Of(y.cause)
	y.state.Add(waiting.Attempt{N: y.parked.Attempt + 1, At: y.s.now.UTC(), Error: Text(y.cause)})
	y.s.emit(Charge{Key: y.ref.Key, Class: y.class})
	switch {
	case y.lane.retry:
		burying(y).buryExhausted()
	case y.s.cfg.Retry.Attempts <= 1:
		y.state.Attempts = nil // bury notes it
		burying(y).bury()
	default:
		y.parkCharged()
	}
}

// parkCharged parks what has attempts left. The pause is by how many attempts the
// oldest of what waits has been through.
func (y failing) parkCharged() {
	_, asked := fate.Of(y.cause)
	n := y.parked.Attempt + 1
	base := y.parked.Attempt
	if len(y.batch) > 0 {
		base -= y.batch[0].Attempts
	}
	delay := y.s.spread(y.s.cfg.Retry, n-base, asked)
	y.parked.Attempt = n
	parking(y).park(plan{charged: true, reason: waiting.Failed, delay: delay, earliest: min(max(y.s.cfg.Retry.First, asked), delay)})
}

// newlyAsked reports whether a parent set of this sync had not been asked when
// the entity was first said to be gone: its answer may be too early, as the
// others' were allowed to be.
func (y failing) newlyAsked() bool {
	return slices.ContainsFunc(y.sets, func(set map[string]string) bool { return !among(y.state.GoneUnder, set) })
}
