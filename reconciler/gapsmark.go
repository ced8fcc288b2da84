package reconciler

import (
	"fmt"
	"slices"
	"time"
)

// advance moves the mark as far as every event listed has a row.
func (g *gaps) advance() {
	to := g.newest
	for _, o := range g.open {
		if o.created.Before(to) {
			to = o.created
		}
	}
	if to.IsZero() {
		return // nothing was listed
	}
	if to = to.Add(-gapsLag); to.After(g.state.Mark) {
		g.state.Mark, g.state.Moved = to.UTC(), g.now()
	}
}

// stuck says what keeps the mark from moving, if it has for too long: a human
// must look, since workers should have logged the event long ago.
func (g *gaps) stuck() error {
	stood := g.now().Sub(g.state.Moved)
	if g.state.Moved.IsZero() || stood < g.patienceWithMark() {
		g.problem = nil
		g.metrics.GapsBlocked.WithLabelValues(g.name).Set(0)
		return nil
	}
	g.metrics.GapsBlocked.WithLabelValues(g.name).Set(stood.Seconds())
	if len(g.open) == 0 {
		return g.problem // the reading has not come to what is in the way
	}
	told := g.problem != nil
	oldest := slices.MinFunc(g.open, func(a, b *openEvent) int { return a.created.Compare(b.created) })
	g.problem = fmt.Errorf("the search for missed events is held up: event %s of %s has had no row in the log for %s: are workers running, and does the store take it?",
		oldest.id, oldest.created.Format(time.RFC3339), stood.Round(time.Second))
	if !told {
		g.log.Error(g.problem.Error(), "source", g.name)
		g.alarm(g.problem.Error())
	}
	return g.problem
}

// patienceWithMark is how long the mark may stand still.
func (g *gaps) patienceWithMark() time.Duration { return max(frozenAfter, 3*g.settings.Gaps.Every) }

// failing is told of a reading that failed. A list that cannot be read for too
// long is as bad as an event that cannot be logged: a human must look.
func (g *gaps) failing(problem error) {
	since := g.state.Complete
	if g.state.Moved.After(since) {
		since = g.state.Moved
	}
	if since.IsZero() {
		since = g.begun
	}
	stood := g.now().Sub(since)
	if stood < g.patienceWithMark() {
		return
	}
	g.metrics.GapsBlocked.WithLabelValues(g.name).Set(stood.Seconds())
	if !g.toldFailing {
		g.toldFailing = true
		g.alarm(fmt.Sprintf("the search for missed events has not come to the end of the provider's list for %s: %v", stood.Round(time.Second), problem))
	}
}

// wrong says, after a reading that came to its end, what is wrong all the same.
func (g *gaps) wrong() error {
	g.toldFailing = false
	if err := g.stuck(); err != nil {
		return err
	}
	if g.unread == 0 {
		g.toldUnread = false
		return nil
	}
	err := fmt.Errorf("%d events in the provider's list cannot be read, so whether they came is not known; the first: %w", g.unread, g.garbled)
	if !g.toldUnread {
		g.toldUnread = true
		g.alarm(err.Error())
	}
	return err
}
