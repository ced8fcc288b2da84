package entity

import (
	"errors"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/mirror"
)

const (
	// freeThrottles is how often in a row one entity may be asked for too soon, as
	// far as the provider says, before that is charged as an attempt: a quick asker
	// is refused now and then, whatever the entity.
	freeThrottles = 2
	// soon is how long a lane waits whose source is paused: until the worker has
	// seen that it is. away is how long one waits for Redis or the store.
	soon, away = 100 * time.Millisecond, time.Second
)

// ErrPaused: the source was paused before a token was to be had, or since the
// provider refuses us. It costs no attempt.
var ErrPaused = fate.New(fate.Unavailable, errors.New("the source is paused"))

var (
	// errEmptied: a root list that the mirror knows with elements is shown without
	// any, and it is not proven that this is the same account's.
	errEmptied = errors.New("a list that had elements has none, which is not proven to be so yet")
	// errRefused is the end of a sync whose settlement the store refuses.
	errRefused = errors.New("the store refused the settlement")
)

// refusals is the pause before what could not be finished is tried again.
var refusals = fate.Backoff{First: time.Second, Cap: time.Minute}.WithDefaults()

// failed sees to a sync that did not cover its batch. What becomes of it is decided
// by the table in package fate, and by what the source says of itself.
func (y *sync) failed(err error) {
	y.cause = err
	y.unlocked(failing{y}.decide)
}

func (y failing) decide(Result) {
	err := y.cause
	class, _ := fate.Of(err)
	if class != fate.Throttled {
		y.state.Throttled = 0
	}
	switch {
	case errors.Is(err, ErrOvertaken): // a pause at random, so that two owners do not meet again
		y.hold(time.Duration(50+450*y.s.cfg.Random())*time.Millisecond, err)
	case errors.Is(err, ErrPaused):
		y.hold(soon, err)
	case class == fate.Unavailable:
		y.hold(away, err)
	case class == fate.Throttled:
		y.consult(Overasked, y.throttled)
	case class == fate.Undefined:
		parking{y.sync}.park(false, y.s.cfg.Retry.First, y.s.cfg.Retry.First)
	case y.undecided(class):
		y.charge(class)
	case class == fate.Refused:
		y.consult(Refusing, y.refusedAlone)
	case class == fate.Gone:
		y.do(Time{Sync: y.number}, y.goneAt)
	case class.Final():
		burying{y.sync}.bury(class)
	default:
		y.consult(Down, y.failedAlone)
	}
}

// consult asks the source whether the failure is its own.
func (y failing) consult(q Question, next func(Result)) {
	y.do(Consult{Sync: y.number, Key: y.ref.Key, Question: q, Class: highest(y.batch), Err: y.cause}, next)
}

// failedAlone: the source is down, and no attempt is charged, or it is this
// entity's own failure.
func (y failing) failedAlone(r Result) {
	if r.Yes {
		y.hold(soon, y.cause)
		return
	}
	class, _ := fate.Of(y.cause)
	y.charge(class)
}

// refusedAlone: the provider refuses our key, or only this entity, for good.
func (y failing) refusedAlone(r Result) {
	if r.Yes {
		y.hold(soon, y.cause)
		return
	}
	burying{y.sync}.bury(fate.Refused)
}

// throttled: the source is asked too often, or it is this entity that is answered
// so, as one that the provider has locked. Then it alone waits, as long as the
// provider asks.
func (y failing) throttled(r Result) {
	if r.Yes {
		y.hold(soon, y.cause)
		return
	}
	y.state.Throttled++
	if y.state.Throttled > freeThrottles {
		y.charge(fate.Throttled)
		return
	}
	_, asked := fate.Of(y.cause)
	delay := max(asked, fate.Pauses{}.Length(2*(y.state.Throttled-1)))
	parking{y.sync}.park(false, delay, delay)
}

// goneAt asks again after a while, for a read may be too early, and then takes the
// entity for gone. A tombstone stays one at once, unless a signal names parents it
// may have moved to.
func (y failing) goneAt(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	wait := y.kind.GoneUnknown
	earliest := min(wait, y.s.cfg.Retry.First)
	if y.factual() {
		wait, earliest = y.kind.GoneKnown, y.kind.GoneKnown
	}
	if !y.goneBefore() || y.newlyAsked() || r.Now.Before(y.state.GoneSince) { // or Redis' clock was set back
		y.state.GoneSince, y.state.GoneClaim, y.state.GoneUnder = r.Now, y.doc.SyncedClaim, y.sets
	}
	left := wait - r.Now.Sub(y.state.GoneSince)
	switch {
	case (y.doc.DeletedAt.IsZero() || len(y.sets) > 1) && left > 0:
		parking{y.sync}.park(false, left, min(earliest, left))
	case knownAlive(y.doc):
		y.do(Consult{
			Sync: y.number, Key: y.ref.Key, Question: Believable, Class: highest(y.batch), Err: y.cause,
			Since: y.state.GoneSince, Foreseen: y.summary.foreseen,
		}, y.goneForGood)
	default:
		y.tombstone()
	}
}

// goneBefore reports whether the provider has said before that it has no such
// entity, and nothing else since.
func (y failing) goneBefore() bool {
	return !y.state.GoneSince.IsZero() && y.doc != nil && y.state.GoneClaim == y.doc.SyncedClaim
}

func (y failing) goneForGood(r Result) {
	if !r.Yes {
		y.hold(r.After, y.cause)
		return
	}
	y.tombstone()
}

// tombstone writes that the entity is gone.
func (y failing) tombstone() {
	y.v = verdict{last: y.newest()}
	y.do(Write{Sync: y.number, Write: &mirror.Write{
		Ref: y.ref, Claim: y.doc.Claim, SentAt: y.sent, Deleted: true, LastEvent: y.v.last, ForgetLastEvent: y.lastEventIsAhead(),
	}}, y.tombstoned)
}

func (y failing) tombstoned(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	y.cause = nil
	y.unlocked(settling{y.sync}.covered)
}

// charge counts the failure as an attempt of all that waited, and parks it. What
// has no attempts left is buried instead: it is the head of what is parked.
func (y failing) charge(class fate.Class) {
	y.class = class
	y.state.add(Attempt{N: y.parked.Attempt + 1, At: y.s.now.UTC(), Error: Text(y.cause)})
	y.s.emit(Charge{Key: y.ref.Key, Class: class})
	switch {
	case y.lane.retry:
		burying{y.sync}.buryExhausted()
	case y.s.cfg.Retry.Attempts <= 1:
		y.state.Attempts = nil // bury notes it
		burying{y.sync}.bury(class)
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
	parking{y.sync}.park(true, delay, min(max(y.s.cfg.Retry.First, asked), delay))
}

// spread returns a back-off's pause, with the shard's random numbers.
func (s *Shard) spread(b fate.Backoff, failed int, asked time.Duration) time.Duration {
	return b.Spread(failed, asked, s.cfg.Random())
}

// undecided reports whether the parent sets disagree and none has the entity: one
// says that it is gone, another refuses us or the question. Nothing is concluded;
// it is tried again like any other failure.
func (y failing) undecided(class fate.Class) bool {
	return y.mixed && (class == fate.Gone || class == fate.Refused || class == fate.Permanent)
}

// newlyAsked reports whether a parent set of this sync had not been asked when
// the entity was first said to be gone: its answer may be too early, as the
// others' were allowed to be.
func (y failing) newlyAsked() bool {
	return slices.ContainsFunc(y.sets, func(set map[string]string) bool { return !among(y.state.GoneUnder, set) })
}
