package outbound

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Do is what is to be done next in a lane.
type Do int

// The things to do.
const (
	// Nothing: all commands are final or answered.
	Nothing Do = iota
	// Wait: the command is not due, and those behind it wait for it.
	Wait
	// Send: the command is sent for the first time, or again since it is not done.
	Send
	// Lose: the worker that sent the command is gone; see Lost.
	Lose
	// FindOut: it is not known what became of the command; see Strategy.
	FindOut
	// Bind: the command has created what the lane's ref names.
	Bind
	// Orphan: nothing before the command creates what it changes.
	Orphan
)

// Step is what is to be done next, with which command.
type Step struct {
	Do      Do
	Command *storage.Command
}

// Next returns what is to be done next in a lane, of which rows are the commands that
// are not final, in their order.
func Next(lane event.Key, rows []*storage.Command, now time.Time) Step {
	_, ofRef := storage.RefOfLane(lane)
	for _, c := range rows {
		if (c.State == storage.CommandUnclear && now.Before(c.DueAt) || c.State == storage.CommandAsked) && fault.Off("command-block") {
			continue
		}
		switch c.State {
		case storage.CommandAnswered:
			if ofRef {
				return Step{Bind, c}
			}
		case storage.CommandQueued:
			switch {
			case ofRef && c.Op != provider.OpCreate:
				return Step{Orphan, c}
			case !ready(c, now):
				return Step{Wait, c}
			}
			return Step{Send, c}
		case storage.CommandSending:
			if now.Before(c.DueAt) {
				return Step{Wait, c}
			}
			return Step{Lose, c}
		case storage.CommandUnclear:
			if now.Before(c.DueAt) {
				return Step{Wait, c}
			}
			return Step{FindOut, c}
		case storage.CommandAsked:
			return Step{Wait, c}
		} // one that has ended since it was read holds up nothing
	}
	return Step{}
}

// ready reports whether a queued command may be begun. One that has no reason of its own
// to wait may, since its due time is a wait for another.
func ready(c *storage.Command, now time.Time) bool {
	return len(c.Attempts) == 0 && len(c.WaitsFor) == 0 || !now.Before(c.DueAt)
}

// blocked is when commands are looked at again that wait for one that waits for an
// operator. Its end rings for them.
const blocked = time.Minute

// Behind returns until when the commands behind one that waits may wait, and whether
// any of them is due earlier.
func Behind(rows []*storage.Command, c *storage.Command, now time.Time) (until time.Time, needed bool) {
	if until = c.DueAt; !now.Before(until) {
		until = now.Add(blocked)
	}
	for _, other := range rows {
		if other.N > c.N && other.State == storage.CommandQueued && other.DueAt.Before(until) {
			needed = true
		}
	}
	return until, needed
}

// Uncovered returns the answered commands among rows: a fetch whose claim is taken after
// they were read covers them.
func Uncovered(rows []*storage.Command) (answered []*storage.Command) {
	for _, c := range rows {
		if c.State == storage.CommandAnswered {
			answered = append(answered, c)
		}
	}
	return answered
}
