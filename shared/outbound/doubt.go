package outbound

import (
	"fmt"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Strategy returns how it is found out now what became of a command: the first of the
// operation's that may still tell, from where it had come to. It moves the command there.
// provider.ByKey and provider.ByRepeat send it again, provider.ByAsk asks an operator.
func Strategy(c *storage.Command, op *provider.Op, now time.Time) provider.Strategy {
	if op == nil {
		return provider.ByAsk
	}
	for ; c.Doubt.Strategy < len(op.Unclear); next(c) {
		switch s := op.Unclear[c.Doubt.Strategy]; s {
		case provider.ByKey:
			if c.Request != nil && c.Request.Key != "" && !c.Doubt.Replayed && c.Charged < MostCharged && op.KeyHolds(c.KeyedAt, now) {
				return s
			}
		case provider.ByRepeat:
			if c.Request != nil && c.Charged < MostCharged {
				return s
			}
		default:
			return s
		}
	}
	return provider.ByAsk
}

// next goes on to the next strategy.
func next(c *storage.Command) {
	c.Doubt.Strategy++
	c.Doubt.AbsentAt = time.Time{}
}

// Seen makes of a command what a look or a list says of it. id is that of what it has
// created, or "". candidates are what it may have created.
func Seen(c *storage.Command, op *provider.Op, f provider.Finding, now time.Time) {
	switch f.Verdict {
	case provider.There:
		Answer(c, &storage.CommandResult{ID: f.ID, At: now}, now)
	case provider.Moot:
		Die(c, op, "moot: the provider has not done it, and can no longer", now)
	case provider.NotThere:
		switch d := c.Doubt; {
		case d.AbsentAt.IsZero():
			d.AbsentAt, c.DueAt = now, now.Add(op.Settle)
		case now.Sub(d.AbsentAt) < op.Settle:
			c.DueAt = d.AbsentAt.Add(op.Settle)
		default:
			absent(c, op, now)
		}
	default:
		c.Doubt.Candidates = f.Candidates
		next(c)
		c.DueAt = now
	}
}

// absent makes a command one that is known not to be done. Its key is kept unless the
// provider would answer an error under it, or no longer knows it.
func absent(c *storage.Command, op *provider.Op, now time.Time) {
	if c.Doubt != nil && c.Doubt.Replayed || op == nil || !op.KeyHolds(c.KeyedAt, now) {
		newKey(c)
	}
	resumed(c)
	c.State, c.Doubt, c.Asked, c.DueAt = storage.CommandQueued, nil, nil, now
}

// NotSeen has it found out later what became of a command: the provider could not be
// asked.
func NotSeen(c *storage.Command, now time.Time) {
	c.DueAt = now.Add(min(max(now.Sub(c.Doubt.Since), time.Second), 5*time.Minute))
}

// Question makes a command one of which only an operator can know what became of it.
func Question(c *storage.Command, now time.Time) {
	reason := "the provider did not say whether it has done it"
	if n := len(c.Attempts); n > 0 && c.Attempts[n-1].Error != "" {
		reason += ": " + c.Attempts[n-1].Error
	}
	q := &storage.CommandQuestion{Since: now, Reason: reason}
	if c.Doubt != nil {
		q.Candidates = c.Doubt.Candidates
	}
	if len(q.Candidates) > 0 {
		q.Reason += fmt.Sprintf("; it may be %s", strings.Join(q.Candidates, ", "))
	}
	c.State, c.Asked, c.DueAt, c.Owed = storage.CommandAsked, q, time.Time{}, true
}
