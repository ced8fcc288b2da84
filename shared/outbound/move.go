package outbound

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	// MostCharged is how many attempts that count a command has.
	MostCharged = 10
	// Overdue is how long after its time-out a request that was begun counts as lost.
	Overdue = 5 * time.Second
	// refusedAgain is how long a command waits whose key the provider refuses.
	refusedAgain = time.Minute
	// longestError is how much of an error's text is kept, in bytes.
	longestError = 1000
)

// backoff is the pause after an attempt that counts.
var backoff = fate.Backoff{First: 5 * time.Second, Cap: 10 * time.Minute}.WithDefaults()

// busyPauses are the pauses after a provider was busy with the entity.
var busyPauses = [...]time.Duration{time.Second, 5 * time.Second, 30 * time.Second}

// Begin makes a command one that is being sent, by a worker that knows the attempt as
// begun. It has the bytes that are sent from then on.
func Begin(c *storage.Command, r provider.Request, begun string, now time.Time, timeout time.Duration) {
	if c.Request == nil {
		kept := storage.CommandRequest(r)
		c.Request = &kept
	}
	if c.KeyedAt.IsZero() {
		c.KeyedAt = now
	}
	c.State, c.Begun, c.SentAt, c.DueAt = storage.CommandSending, begun, now, now.Add(timeout+Overdue)
	c.WaitsFor, c.WaitsSince = nil, time.Time{}
}

// GiveBack undoes Begin: nothing was sent. was is the command as it was before Begin. The
// rendered request stays, for the next attempt.
func GiveBack(c *storage.Command, was *storage.Command, now time.Time) {
	c.State, c.Begun, c.SentAt, c.KeyedAt, c.DueAt = was.State, "", was.SentAt, was.KeyedAt, now
}

// Unsent undoes Begin for a worker that has only the stored row, in state sending: the
// worker began the attempt itself and knows that nothing was sent.
func Unsent(c *storage.Command, now time.Time) {
	c.State, c.Begun, c.DueAt = storage.CommandQueued, "", now
	if c.Doubt != nil {
		c.State = storage.CommandUnclear
	}
	if len(c.Attempts) == 0 {
		c.SentAt, c.KeyedAt = time.Time{}, time.Time{}
	}
}

// Record makes of a command that was sent what its answer says. op may be nil if the
// definition no longer has the operation. An attempt that is free does not count.
func Record(c *storage.Command, op *provider.Op, a provider.Answer, now time.Time, free bool) {
	attempt := storage.CommandAttempt{At: now, Status: a.Status, RequestID: a.RequestID}
	if a.Err != nil {
		attempt.Error = fate.Short(a.Err.Error(), longestError)
	}
	tried(c, attempt)
	c.Begun = ""
	count := 1
	if free {
		count = 0
	}
	switch a.Outcome {
	case provider.Answered:
		Answer(c, &storage.CommandResult{Status: a.Status, ID: a.ID, At: now, Body: a.Body, RequestID: a.RequestID}, now)
	case provider.Dead:
		if c.Doubt != nil { // an attempt before it may have been done: the refusal says nothing of that
			next(c)
			c.State, c.DueAt = storage.CommandUnclear, now.Add(busyPauses[0])
			return
		}
		c.Result = &storage.CommandResult{Status: a.Status, At: now, Body: a.Body, RequestID: a.RequestID}
		Die(c, op, attempt.Error, now)
	case provider.Unsent, provider.Misrouted:
		charge(c, op, attempt.Error, now, count)
	case provider.Throttled:
		again(c, now.Add(max(a.RetryAfter, busyPauses[0])))
	case provider.Busy:
		again(c, now.Add(max(a.RetryAfter, busyPauses[min(sameStatus(c), len(busyPauses))-1])))
	case provider.Refused:
		again(c, now.Add(refusedAgain))
	default:
		doubted(c, a.Replayed, now, count)
	}
}

// Refused makes a command dead whose key the provider accepts for everything else.
func Refused(c *storage.Command, op *provider.Op, now time.Time) {
	reason := "the provider refuses the change to our key"
	if n := len(c.Attempts); n > 0 && c.Attempts[n-1].Error != "" {
		reason = c.Attempts[n-1].Error
	}
	Die(c, op, reason, now)
}

// Lost makes of a command whose worker is gone one of which it is not known what became
// of it.
func Lost(c *storage.Command, now time.Time) {
	tried(c, storage.CommandAttempt{At: c.SentAt, Error: "the worker that was sending it has not said what came of it"})
	c.Begun = ""
	doubted(c, false, now, 1)
	c.DueAt = now
}

// tried adds an attempt.
func tried(c *storage.Command, a storage.CommandAttempt) {
	c.Attempts = append(c.Attempts, a)
	c.Attempts = c.Attempts[max(0, len(c.Attempts)-storage.MaxCommandAttempts):]
}

// sameStatus is how many of the last attempts had the status of the last one.
func sameStatus(c *storage.Command) (n int) {
	for i := len(c.Attempts) - 1; i >= 0 && c.Attempts[i].Status == c.Attempts[len(c.Attempts)-1].Status; i-- {
		n++
	}
	return n
}

// again makes a command due that was not done by its last attempt. What became of an
// earlier attempt may be in doubt all the same.
func again(c *storage.Command, due time.Time) {
	c.State, c.DueAt = storage.CommandQueued, due
	if c.Doubt != nil {
		c.State = storage.CommandUnclear
	}
}

// charge handles an attempt that was not done, and adds count to the attempts that count.
func charge(c *storage.Command, op *provider.Op, reason string, now time.Time, count int) {
	c.Charged += count
	if c.Charged >= MostCharged && c.Doubt == nil {
		Die(c, op, reason, now)
		return
	}
	again(c, now.Add(backoff.After(min(max(c.Charged, 1), MostCharged), 0)))
}

// doubted makes it unknown what became of a command, and adds count to the attempts that
// count.
func doubted(c *storage.Command, replayed bool, now time.Time, count int) {
	c.Charged += count
	if fault.Off("command-doubt") { // taken for one that was not done
		again(c, now.Add(busyPauses[0]))
		return
	}
	if c.Doubt == nil {
		c.Doubt = &storage.CommandDoubt{Since: c.SentAt}
	}
	c.Doubt.Replayed = c.Doubt.Replayed || replayed
	c.State, c.DueAt = storage.CommandUnclear, now.Add(busyPauses[min(max(c.Charged, 1), len(busyPauses))-1])
}

// coverFirst is how long an answered command waits for its fetch until it is hinted again.
const coverFirst = 5 * time.Second

// Answer makes a command one that the provider has done.
func Answer(c *storage.Command, r *storage.CommandResult, now time.Time) {
	resumed(c)
	c.State, c.Result, c.Doubt, c.Asked, c.Begun = storage.CommandAnswered, r, nil, nil, ""
	c.DueAt = now.Add(coverFirst)
}

// resumed owes the feed a command that is under way again, if it rested: the feed may have
// told so.
func resumed(c *storage.Command) { c.Owed = c.Owed || c.State.Rests() }

// PutOff has an answered command hinted again later and later.
func PutOff(c *storage.Command, now time.Time) {
	c.DueAt = now.Add(min(max(now.Sub(c.Result.At), coverFirst), 10*time.Minute))
}

// Cover makes an answered command done: a fetch that began after the answer is in the
// mirror. That of an erased entity is not asked for, and the command loses its content.
func Cover(c *storage.Command, op *provider.Op, by storage.Covered, now time.Time) {
	c.CoveredBy = &by
	end(c, op, storage.CommandDone, "", now)
	if by.FetchedAt.IsZero() {
		c.Empty() // its entity is erased
	}
}

// Die makes a command dead.
func Die(c *storage.Command, op *provider.Op, reason string, now time.Time) {
	end(c, op, storage.CommandDead, reason, now)
}

// end makes a command final, and cuts out its secrets.
func end(c *storage.Command, op *provider.Op, state storage.CommandState, reason string, now time.Time) {
	c.State, c.Reason, c.EndedAt, c.DueAt = state, reason, now, time.Time{}
	c.WaitsFor, c.WaitsSince, c.Doubt, c.Asked, c.Begun = nil, time.Time{}, nil, nil, ""
	c.Owed = true  // the feed has every command that rests
	if op == nil { // it is not known what is secret
		c.Body = nil
		if c.Request != nil {
			c.Request.Bytes = nil
		}
		return
	}
	c.Body = op.Redact(c.Body)
	if c.Request != nil {
		kept := storage.CommandRequest(op.RedactRequest(provider.Request(*c.Request)))
		c.Request = &kept
	}
}

// newKey gives a command another idempotency key. The next attempt is the first under it.
func newKey(c *storage.Command) {
	c.KeyedAt = time.Time{}
	if c.Request != nil && c.Request.Key != "" {
		c.Keys++
		r := *c.Request
		r.Key = Key(c)
		c.Request = &r
	}
}

// Key is the idempotency key of a command's attempts.
func Key(c *storage.Command) string {
	if c.Keys == 0 {
		return c.ID
	}
	return c.ID + "-" + strconv.Itoa(c.Keys+1)
}

// StateError is the error of what cannot be done to a command in its state.
type StateError struct {
	State storage.CommandState
	// Wants names the states in which it could be done: "dead or asked".
	Wants string
}

// Error says in which state the command is, and in which it would have to be.
func (e *StateError) Error() string {
	return fmt.Sprintf("the command is %s: want one that is %s", e.State, e.Wants)
}
