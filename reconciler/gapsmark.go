package reconciler

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/provider"
)

// advance moves the mark to a time, or as far as every listed event has a row.
func (g *gaps) advance(to time.Time) {
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

// stuck returns why the mark has not moved, if that has been for too long. Workers
// should have logged the event long ago, so it raises an alert.
func (g *gaps) stuck() error {
	stood := g.now().Sub(g.state.Moved)
	if g.state.Moved.IsZero() || stood < g.patienceWithMark() {
		g.problem = nil
		return nil
	}
	g.metrics.GapsBlocked.WithLabelValues(g.name).Set(stood.Seconds())
	if len(g.open) == 0 {
		return g.problem // the reading has not come to the event in the way
	}
	alerted := g.problem != nil
	oldest := slices.MinFunc(g.open, func(a, b *openEvent) int { return a.created.Compare(b.created) })
	g.problem = fmt.Errorf("the search for missed events is held up: event %s of %s has had no row in the log for %s: are workers running, and does the store take it?",
		oldest.id, oldest.created.Format(time.RFC3339), stood.Round(time.Second))
	if !alerted {
		g.log.Error(g.problem.Error(), "source", g.name)
		g.alarm(g.problem.Error())
	}
	return g.problem
}

// patienceWithMark is how long the mark may stay where it is.
func (g *gaps) patienceWithMark() time.Duration { return max(frozenAfter, 3*g.settings.Gaps.Every) }

// failing handles a reading that failed. A list that cannot be read for too long is as
// bad as an event that cannot be logged, so it raises an alert.
func (g *gaps) failing(problem error) {
	since := g.state.Complete
	if g.state.Moved.After(since) {
		since = g.state.Moved
	}
	if since.IsZero() {
		since = g.begun
	}
	g.blocked(since, problem)
}

// blocked raises an alert, once, if the search has made no progress since a time that
// is too long ago. It returns the problem then.
func (g *gaps) blocked(since time.Time, problem error) error {
	stood := g.now().Sub(since)
	if stood < g.patienceWithMark() {
		return nil
	}
	g.metrics.GapsBlocked.WithLabelValues(g.name).Set(stood.Seconds())
	if !g.alertedFailing {
		g.alertedFailing = true
		g.alarm(fmt.Sprintf("the search for missed events has not come to the end of the provider's list for %s: %v", stood.Round(time.Second), problem))
	}
	return problem
}

// slow returns an error if the reading under way has made no progress for too long.
func (g *gaps) slow() error {
	since := g.reading
	if g.state.Moved.After(since) {
		since = g.state.Moved
	}
	return g.blocked(since, fmt.Errorf("the end has not come after %d pages", g.cursors.Pages()))
}

// pause is how long the search waits after a reading that took a time. The interval
// counts from the start of the reading, so that an event is found within one interval.
// A list that does not end is not read all the time: that would use up the budget.
func (g *gaps) pause(took time.Duration, problem error) time.Duration {
	if errors.Is(problem, provider.ErrEndless) && !errors.Is(problem, errCut) {
		return max(g.settings.Gaps.Every, took)
	}
	return max(g.settings.Gaps.Every-took, g.pace.backoff)
}

// endless decides about a reading that the bound on pages has ended. If it has moved the
// mark, the next reading continues from there. If not, no reading will come to the end.
func (g *gaps) endless(err error) error {
	if g.state.Check { // as much of the order as one reading can see has been checked
		g.state.Whole, g.state.Check = g.state.Mark, false
		return fmt.Errorf("%w: %w", errCut, err)
	}
	if g.state.Mark.After(g.from) {
		return fmt.Errorf("%w: %w", errCut, err)
	}
	if !g.alertedFailing {
		g.alertedFailing = true
		g.alarm(fmt.Sprintf("the search for missed events does not come to the end of the provider's list: %v", err))
	}
	return err
}

// errCut: the bound on pages has ended a reading, and the next one continues.
var errCut = errors.New("the next reading continues from the mark")

// wrong returns what is wrong after a reading that came to its end.
func (g *gaps) wrong() error {
	g.alertedFailing = false
	if g.scope == "" { // which is read before the scopes
		g.metrics.GapsBlocked.WithLabelValues(g.name).Set(0)
	}
	if err := g.stuck(); err != nil {
		return err
	}
	if g.unread == 0 {
		g.alertedUnread = false
		return nil
	}
	err := fmt.Errorf("%d events in the provider's list cannot be read, so whether they came is not known; the first: %w", g.unread, g.garbled)
	if !g.alertedUnread {
		g.alertedUnread = true
		g.alarm(err.Error())
	}
	return err
}
