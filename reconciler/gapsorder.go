package reconciler

import (
	"errors"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// A search that is cut off resumes at the mark, which the pages it has read have moved.
// That skips nothing if the list is in the order of time, as its definition says. So the
// order is checked. A page moves the mark only once the next page has followed it in
// order. When a resumed search has come to the end, the list is read once more from
// the mark of the last whole reading, unless it has more pages than one reading may. If
// the order is wrong, the mark goes back to that of the last whole reading, and from then
// on only whole readings move it.

// unorderedFor is for how long the order of a list is not trusted after it was wrong.
const unorderedFor = 7 * 24 * time.Hour

var errUnordered = errors.New("the provider's list of events is not in the order that its definition says (api.events.order)")

// isOrdered reports whether the order of the list may be trusted.
func (g *gaps) isOrdered() bool {
	return g.state.Unordered.IsZero() || g.now().Sub(g.state.Unordered) >= unorderedFor
}

// checkOrder checks the times of a page. An error ends a reading that may have begun
// after events that were never listed.
func (g *gaps) checkOrder(events []*event.Event, inOrder bool) error {
	for _, e := range events {
		at := e.CreatedAt
		if at.IsZero() || at.After(g.reading) {
			continue // without a usable date
		}
		if inOrder && at.Before(g.newest.Add(-gapsLag)) {
			if err := g.outOfOrder(e); err != nil {
				return err
			}
		}
		if at.After(g.newest) {
			g.newest = at
		}
	}
	return nil
}

// outOfOrder takes the mark back to the last whole reading.
func (g *gaps) outOfOrder(e *event.Event) error {
	problem := fmt.Errorf("%w: event %s of %s comes after one of %s; a search that is cut off begins again where the last whole one ended",
		errUnordered, e.ID, e.CreatedAt.Format(time.RFC3339), g.newest.Format(time.RFC3339))
	if g.isOrdered() {
		g.log.Warn(problem.Error(), "source", g.name)
		g.alarm(problem.Error())
	}
	g.state.Unordered = g.now().UTC()
	began := g.from
	g.state.Mark, g.state.Check = g.state.Whole, false
	if began.Equal(g.state.Whole) {
		return nil // this reading is whole if it comes to its end
	}
	return problem
}

// clocksApart is how far the clocks of a fleet may differ.
const clocksApart = 5 * time.Minute

// distrust corrects times that are later than now. A mark far ahead comes from a date
// that an earlier release accepted, or from a host whose clock was wrong. It does not
// say what the log has, so the whole window is searched again.
func (g *gaps) distrust(now time.Time) {
	s := &g.state
	if s.Mark.After(now.Add(clocksApart)) {
		g.log.Warn("the mark of the search for missed events is in the future; the whole window is searched again", "source", g.name, "mark", s.Mark)
		s.Mark, s.Whole = time.Time{}, time.Time{}
	}
	for _, at := range []*time.Time{&s.Mark, &s.Whole, &s.Complete, &s.Moved, &s.Unordered} {
		if at.After(now) {
			*at = now.UTC()
		}
	}
}
