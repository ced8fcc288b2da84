package reconciler

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/provider"
)

// advance moves the mark to a time, or as far as every event listed has a row.
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

// stuck says what keeps the mark from moving, if it has for too long: a human
// must look, since workers should have logged the event long ago.
func (g *gaps) stuck() error {
	stood := g.now().Sub(g.state.Moved)
	if g.state.Moved.IsZero() || stood < g.patienceWithMark() {
		g.problem = nil
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
	g.blocked(since, problem)
}

// blocked tells, once, that the search has got no further since a time, if that is
// long ago, and returns the problem then.
func (g *gaps) blocked(since time.Time, problem error) error {
	stood := g.now().Sub(since)
	if stood < g.patienceWithMark() {
		return nil
	}
	g.metrics.GapsBlocked.WithLabelValues(g.name).Set(stood.Seconds())
	if !g.toldFailing {
		g.toldFailing = true
		g.alarm(fmt.Sprintf("the search for missed events has not come to the end of the provider's list for %s: %v", stood.Round(time.Second), problem))
	}
	return problem
}

// slow says of a reading under way that it does not end, if it has got no further
// for too long.
func (g *gaps) slow() error {
	since := g.reading
	if g.state.Moved.After(since) {
		since = g.state.Moved
	}
	return g.blocked(since, fmt.Errorf("the end has not come after %d pages", g.cursors.Pages()))
}

// pause is how long the search rests after a reading that took so long. Counted from
// when that began, so that an event is found within one interval. A list that does not
// end is not read all the time: that would take the budget of all else.
func (g *gaps) pause(took time.Duration, problem error) time.Duration {
	if errors.Is(problem, provider.ErrEndless) && !errors.Is(problem, errCut) {
		return max(g.settings.Gaps.Every, took)
	}
	return max(g.settings.Gaps.Every-took, g.pace.backoff)
}

// endless decides about a reading that was ended by the bound on pages. Where it
// has moved the mark, the next goes on from there. Where it has not, none will come
// to the end.
func (g *gaps) endless(err error) error {
	if g.state.Check { // as much of the order as one reading can see has been checked
		g.state.Whole, g.state.Check = g.state.Mark, false
		return fmt.Errorf("%w: %w", errCut, err)
	}
	if g.state.Mark.After(g.from) {
		return fmt.Errorf("%w: %w", errCut, err)
	}
	if !g.toldFailing {
		g.toldFailing = true
		g.alarm(fmt.Sprintf("the search for missed events does not come to the end of the provider's list: %v", err))
	}
	return err
}

// errCut: a reading was ended by the bound on pages, and the next one goes on.
var errCut = errors.New("the reading goes on from the mark")

// wrong says, after a reading that came to its end, what is wrong all the same.
func (g *gaps) wrong() error {
	g.toldFailing = false
	g.metrics.GapsBlocked.WithLabelValues(g.name).Set(0)
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
