package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/stream"
)

// parkState is the worker's record on a parked entity.
type parkState struct {
	// Attempts are the failed ones, oldest first, the last 50.
	Attempts []numbered `json:"attempts,omitempty"`
	// GoneSince is when, by Redis' clock, the provider first said it has no such
	// entity, GoneClaim what had been synced of it then: once that has moved, the
	// entity was there in between.
	GoneSince time.Time `json:"gone_since,omitzero"`
	GoneClaim int64     `json:"gone_claim,omitempty"`
	// GoneUnder are the parents under which it was asked for then.
	GoneUnder []map[string]string `json:"gone_under,omitempty"`
	// Throttled is how often in a row the entity was answered 429 though others
	// were not.
	Throttled int `json:"throttled,omitempty"`
	// Refused is how often the store has refused to settle what is parked.
	Refused int `json:"refused,omitempty"`
}

// numbered is a failed attempt with its number since the entity was parked, so
// that each entry's own can be told.
type numbered struct {
	N     int       `json:"n"`
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

const (
	keptAttempts = 50
	// longestError is how much of an error's text is kept, in bytes, and
	// longestStack how much of a panic's, which is never parked.
	longestError, longestStack = 1000, 8000
)

// failed decides the fate of a sync that did not cover its batch; the table is
// in package fate.
func (a *attempt) failed(err error) {
	s := a.s
	class, _ := fate.Of(err)
	if class != fate.Throttled {
		a.state.Throttled = 0
	}
	switch {
	case s.lost(err) || s.ctx.Err() != nil || !s.ours():
		a.end(err)
	case errors.Is(err, errOvertaken):
		a.hold(overtaken(), err)
	case errors.Is(err, errEmptied):
		a.hold(a.src.evidence.wait(), err)
	case errors.Is(err, errPaused):
		a.hold(100*time.Millisecond, err)
	case class == fate.Unavailable:
		if a.ln.retry {
			s.log.Debug("a retry waits for redis or the store", "entity", a.ln.key.String(), "error", short(err))
		}
		a.hold(time.Second, err)
	case class == fate.Throttled:
		a.throttled(err)
	case class == fate.Undefined:
		a.parkUndefined(err)
	case a.undecided(class):
		a.charge(class, err)
	case class == fate.Refused:
		a.refused(err)
	case class == fate.Gone:
		a.gone(err)
	case class.Final():
		a.bury(class, err)
	case a.src.isDown(s.ctx):
		a.hold(100*time.Millisecond, err) // the source is down: nobody's attempt
	default:
		a.charge(class, err)
	}
}

// refused asks the probe path whether it is us the provider refuses, or this
// one entity.
func (a *attempt) refused(err error) {
	ill := a.src.isIll(a.s.ctx, a.src.prober.Ask) // what is buried stays so
	switch {
	case a.s.ctx.Err() != nil:
		a.end(err)
	case ill:
		a.hold(100*time.Millisecond, err)
	default:
		a.bury(fate.Refused, err)
	}
}

// gone asks again after a while, for a read may be too early, and then takes
// the entity for gone. A tombstone stays one at once, unless a signal names
// parents it may have moved to.
func (a *attempt) gone(err error) {
	kind := a.kind
	wait := kind.GoneUnknown
	earliest := min(wait, a.s.w.Retry.First)
	if a.factual() {
		wait, earliest = kind.GoneKnown, kind.GoneKnown
	}
	now, nerr := a.s.w.Streams.Now(a.s.ctx)
	if nerr != nil {
		a.failed(fromRedis(nerr))
		return
	}
	if !a.goneBefore() || a.newlyAsked() || now.Before(a.state.GoneSince) { // or Redis' clock was set back
		a.state.GoneSince, a.state.GoneClaim, a.state.GoneUnder = now, a.doc.SyncedClaim, a.sets
	}
	left := wait - now.Sub(a.state.GoneSince)
	if (a.doc.DeletedAt.IsZero() || len(a.sets) > 1) && left > 0 {
		a.park(err, false, left, min(earliest, left))
		return
	}
	if knownAlive(a.doc) && !a.believable(a.s.ctx, a.state.GoneSince) {
		a.hold(a.src.evidence.wait(), err)
		return
	}
	a.tombstone()
}

// goneBefore reports whether the provider has said before that it has no such
// entity, and nothing else since.
func (a *attempt) goneBefore() bool {
	return !a.state.GoneSince.IsZero() && a.doc != nil && a.state.GoneClaim == a.doc.SyncedClaim
}

// tombstone writes that the entity is gone and settles its batch.
func (a *attempt) tombstone() {
	v := &verdict{last: a.newest()}
	w := &mirror.Write{Ref: a.ref, Claim: a.doc.Claim, SentAt: a.sent, Deleted: true, LastEvent: v.last, ForgetLastEvent: a.lastEventIsAhead()}
	if err := a.write(a.s.ctx, w); err != nil {
		a.failed(err)
		return
	}
	a.covered(v)
}

// charge counts the failure as an attempt of all that waited, and parks it; what
// has no attempts left is buried instead.
func (a *attempt) charge(class fate.Class, err error) {
	n := a.parked.Attempt + 1
	a.state.Attempts = append(a.state.Attempts, numbered{N: n, At: a.s.w.Now().UTC(), Error: short(err)})
	if over := len(a.state.Attempts) - keptAttempts; over > 0 {
		a.state.Attempts = a.state.Attempts[over:]
	}
	a.s.w.Metrics.Retries.WithLabelValues(a.src.Name, class.String()).Inc()
	limit := a.s.w.Retry.Attempts
	if !a.ln.retry && limit <= 1 {
		a.bury(class, err)
		return
	}
	if a.ln.retry && !a.buryExhausted(class, limit) {
		return
	}
	_, after := fate.Of(err)
	delay := a.s.w.Retry.After(n-a.base(), after)
	a.parked.Attempt = n
	a.park(err, true, delay, min(max(a.s.w.Retry.First, after), delay))
}

// base is the attempt at which the oldest of what waits came.
func (a *attempt) base() int {
	if len(a.batch) == 0 {
		return a.parked.Attempt
	}
	return a.parked.Attempt - a.batch[0].Attempts
}

// park puts the entity and all that waits for it to wait, by way of Redis. While
// the store refuses what was settled before for the entity, nothing is counted or
// parked, and the sync is made again.
func (a *attempt) park(cause error, charged bool, delay, earliest time.Duration) {
	s := a.s
	if !s.waitForHead(a.ln.key) {
		a.syncAgain(fmt.Errorf("%w that comes before; the failure: %w", errRefused, cause))
		return
	}
	if charged {
		if err := a.countAttempt(cause); err != nil {
			a.syncAgain(err)
			return
		}
		fault.Point("after-fail")
	}
	s.gate.Lock()
	defer s.gate.Unlock()
	a.passedOn = true
	waiting := a.ln.leave()
	if !a.ln.retry && len(waiting) < len(a.batch) {
		a.end(context.Cause(s.ctx)) // the shard was lost and its lanes dropped
		return
	}
	p := stream.Park{Key: a.ln.key, Attempt: a.parked.Attempt, Delay: delay, Earliest: earliest, State: a.state.encode()}
	if charged && a.ln.retry {
		p.Tried = a.parked.Len
	}
	if p.Waiting = waiting; charged && !a.ln.retry {
		p.Charged, p.Waiting = waiting[:len(a.batch)], waiting[len(a.batch):]
	}
	if err := s.park(nil, p); err != nil {
		a.end(err)
		return
	}
	fault.Point("after-park")
	s.letGo(a.src, waiting, nil)
	level := slog.LevelWarn
	if class, _ := fate.Of(cause); class == fate.Undefined {
		level = slog.LevelDebug // said once for the kind
	}
	s.log.Log(s.ctx, level, "sync failed; parked", "entity", a.ln.key.String(), "error", short(cause), "attempt", p.Attempt, "charged", charged, "retry_in", delay.Round(time.Millisecond).String())
	a.end(cause)
}

// countAttempt counts a charged attempt on the rows of all that waited, page by
// page. All of it has one time, by which the store knows a failure it has counted.
func (a *attempt) countAttempt(cause error) error {
	s, at := a.s, a.s.w.Now().UTC()
	entries := a.batch
	for seen := 0; len(entries) > 0; {
		failures := a.failures(cause, at, entries)
		if err := s.w.persist(s.ctx, nil, "count an attempt", func() error { return s.w.Store.Fail(s.ctx, failures) }); err != nil {
			return err
		}
		if seen += len(entries); !a.ln.retry || seen >= a.parked.Len {
			return nil
		}
		var gone int
		var err error
		if _, entries, gone, err = s.parked(s.ctx, nil, a.ln.key, seen, min(page, a.parked.Len-seen)); err != nil {
			return fromRedis(err)
		}
		a.parked.Len -= gone
	}
	return nil
}

// failures are the log's side of a charged attempt on some entries.
func (a *attempt) failures(cause error, now time.Time, entries []stream.Entry) []mirror.Failure {
	class, _ := fate.Of(cause)
	var out []mirror.Failure
	for _, e := range entries {
		if e.Signal.Cause != event.CauseEvent {
			continue
		}
		out = append(out, mirror.Failure{
			Source: a.src.Name, EventID: e.Signal.CauseID, Entity: a.ln.key,
			Signal: mirror.SignalID{Shard: a.s.number, ID: e.ID}, At: now, Class: class.String(), Error: short(cause),
			Claim: a.doc.Claim,
		})
	}
	return out
}

// bury writes dead letters for the whole batch and goes on with what came
// since.
func (a *attempt) bury(class fate.Class, cause error) {
	if a.ln.retry {
		a.buryParked(class, cause)
		return
	}
	a.state.Attempts = append(a.state.Attempts, numbered{N: 1, At: a.s.w.Now().UTC(), Error: last(class, cause)})
	if err := a.writeLetters(a.s.ctx, class, charged(a.batch), 1); err != nil {
		a.syncAgain(err)
		return
	}
	a.passedOn = true
	a.s.acks.add(a.src.Name, a.batch, func() { a.end(cause) })
	a.ln.done(len(a.batch))
}

// writeLetters puts dead letters for the entries on record, says so, and lets
// their events in again should the provider send them once more. n is the
// number of the last attempt.
func (a *attempt) writeLetters(ctx context.Context, class fate.Class, entries []stream.Entry, n int) error {
	w := a.s.w
	if err := w.repair(ctx, nil, discrepancies(entries), false); err != nil {
		return err
	}
	letters := a.letters(class, entries, n)
	if len(letters) == 0 {
		return nil
	}
	var superseded []bool
	err := w.persist(ctx, nil, "write dead letters", func() (err error) {
		superseded, err = w.Store.Bury(ctx, letters)
		return err
	})
	if err != nil {
		return err
	}
	fault.Point("after-letter")
	for i := range letters {
		w.Metrics.DeadLetters.WithLabelValues(a.src.Name, class.String()).Inc()
		if !superseded[i] { // nobody is needed for what a later sync has covered
			a.raiseAlert(&letters[i])
		}
	}
	return a.forgetEvents(ctx, letters)
}

// letters are those of the events among the entries.
func (a *attempt) letters(class fate.Class, entries []stream.Entry, n int) []mirror.Letter {
	var letters []mirror.Letter
	for _, e := range entries {
		if e.Signal.Cause != event.CauseEvent {
			a.s.log.Error("gave up on a signal", "entity", a.ln.key.String(), "cause", e.Signal.Cause, "cause_id", e.Signal.CauseID, "class", class.String())
			continue
		}
		ref := e.Signal.Ref // its own parents, which another letter's are not
		if len(ref.Parents) == 0 {
			ref = a.ref
		}
		l := mirror.Letter{
			Source: a.src.Name, EventID: e.Signal.CauseID, Ref: ref,
			Signal: mirror.SignalID{Shard: a.s.number, ID: e.ID}, Class: class.String(),
			Attempts: a.state.of(n - e.Attempts), TraceID: traceID(e), At: a.s.w.Now().UTC(),
		}
		if a.doc != nil {
			l.Claim = a.doc.Claim
		}
		letters = append(letters, l)
	}
	return letters
}

// raiseAlert raises the alert of a dead letter. It comes after the letter is on
// record: a worker that dies between the two buries again, and tells then.
func (a *attempt) raiseAlert(l *mirror.Letter) {
	t := alert.Alert{
		At: l.At, Kind: alert.DeadLetter, Source: l.Source, ID: l.ID(), Event: l.EventID,
		Entity: l.Ref.Key.String(), Class: l.Class, TraceID: l.TraceID,
	}
	if n := len(l.Attempts); n > 0 {
		t.Reason = firstLine(l.Attempts[n-1].Error)
	}
	a.s.w.Alerts.Raise(t)
}

// forgetEvents removes the marks of buried events, which are on the shards of
// the events' primary entities. A mark that stays runs out by itself.
func (a *attempt) forgetEvents(ctx context.Context, letters []mirror.Letter) error {
	ids := make([]string, len(letters))
	for i, l := range letters {
		ids[i] = l.EventID
	}
	homes, err := a.s.w.Store.Homes(ctx, a.src.Name, ids)
	if err == nil {
		err = a.s.w.Streams.ForgetEvents(ctx, homes)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		a.s.log.Warn("could not let buried events in again; their marks run out by themselves", "entity", a.ln.key.String(), "events", len(ids), "error", err)
	}
	return nil
}

// encode returns the state as kept in Redis, without the oldest attempts if all
// are more than it keeps: a text may grow sixfold as JSON.
func (p parkState) encode() []byte {
	for {
		b, _ := json.Marshal(p) // times and strings always encode
		if len(b) <= stream.MaxState || len(p.Attempts) == 0 {
			return b
		}
		p.Attempts = p.Attempts[1:]
	}
}

// of returns the attempts an entry has been through that came at attempt base.
func (p parkState) of(base int) []mirror.Attempt {
	var out []mirror.Attempt
	for _, t := range p.Attempts {
		if t.N > base {
			out = append(out, mirror.Attempt{At: t.At, Error: t.Error})
		}
	}
	return out
}

// firstLine is the line of a text that says what happened; a stack may follow.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// short is an error's text, cut to what is kept of it.
func short(err error) string { return fate.Short(err.Error(), longestError) }

// last is the text of the error that ended work: a panic's with its stack.
func last(class fate.Class, err error) string {
	if class == fate.Panic {
		return fate.Short(err.Error(), longestStack)
	}
	return short(err)
}
