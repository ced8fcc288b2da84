package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/provider"
)

const (
	// gapsLag is how late an event may appear in the provider's list among older
	// ones. The mark stays that far behind the newest event listed.
	gapsLag = 30 * time.Second
	// frozenAfter is how long the mark may stay where it is before an alert is
	// raised.
	frozenAfter = 5 * time.Minute
)

// gapState is how far the search for missed events has come.
type gapState struct {
	// Mark: every event created before it has a row in the log. It is a time by the
	// provider's clock, and never later than the start of the reading it comes from.
	Mark time.Time `json:"mark,omitzero"`
	// Whole is the mark of the last reading that came to the end of the list. Any
	// later move of the mark relies on the order of the list.
	Whole time.Time `json:"whole,omitzero"`
	// Check: a reading that began at such a mark has come to the end. The next one
	// begins at Whole, to check the order.
	Check bool `json:"check,omitempty"`
	// Unordered is when the list was last seen out of the order that its definition
	// says. Zero: never.
	Unordered time.Time `json:"unordered,omitzero"`
	// Complete is when the last reading that came to the end of the list began:
	// every event created before it has been listed.
	Complete time.Time `json:"complete,omitzero"`
	// Moved is when the mark last moved, or could have moved.
	Moved time.Time `json:"moved,omitzero"`
	// Sweep is the sweep that replaces events which the provider no longer kept
	// when they were to be read. "" if there was none.
	Sweep string `json:"sweep,omitempty"`
}

// gaps searches the provider's list of events for ones that never came.
//
// It appends a missing event as its webhook would have been: to the live stream, which
// keeps the order of an entity, but in the class redrive, so that events that come in
// now are fetched first. Redis remembers the ids of events for a while, so it tells
// whether an event is missing or only queued. A shard with entries older than that has
// to catch up first: its events are left to a later reading.
//
// An event may be on its way as a webhook just when it is listed, so a missing one is
// looked up once more after a second.
//
// Events are dated by the provider's clock, which may be wrong. An event dated after
// the reading began does not move the mark: one event of the year 2999 would end the
// search until then. The order of the list is checked too; see gapsorder.go.
type gaps struct {
	*finder
	task string
	// scope is the scope whose list is read. "": that of the source itself.
	scope string
	state gapState
	// since is where a requested search begins. Zero: at the mark.
	since  time.Time
	counts map[string]int64
	calls  int64
	// marks is how long Redis remembers an event.
	marks time.Duration
	// open are the events listed that have no row yet, oldest first.
	open []*openEvent
	// newest is the time of the newest event listed, if not after the reading began.
	// confirmed is the same without the last page, which has shown the pages before
	// it to be in order.
	newest, confirmed time.Time
	// reading is when the reading under way began, from the mark it began at. Zero:
	// none.
	reading time.Time
	from    time.Time
	// cursors are the cursors of the reading.
	cursors provider.Cursors
	// listed and unread are how many elements of the list this reading could and
	// could not read; garbled is the error of the first unread one.
	listed, unread int
	garbled        error
	// begun is when this process began the search.
	begun time.Time
	// alertedFailing and alertedUnread: an alert was raised that readings fail, and
	// that elements cannot be read.
	alertedFailing, alertedUnread bool
	// problem is why the mark has not moved for too long.
	problem error

	// note saves the state, with what is wrong, nil if nothing is.
	note func(ctx context.Context, problem error) error
	// sweep starts a sweep of the source and returns its id.
	sweep func(ctx context.Context, slot string) (string, error)
	// alarm raises an alert.
	alarm func(reason string)
}

// openEvent is a listed event without a row in the log.
type openEvent struct {
	id      string
	created time.Time
	seen    time.Time
	// event is nil once it was appended.
	event *event.Event
}

// round reads the list once, from the mark to its end. If a page is too long, it asks
// for smaller pages, if necessary from the mark again. So it does, once, if a page after
// the first is refused: its cursor may have expired.
func (g *gaps) round(ctx context.Context) error {
	for restarted := false; ; {
		err := g.readOnce(ctx)
		class, _ := fate.Of(err)
		switch {
		case errors.Is(err, provider.ErrBeginAgain):
			g.log.Info("pages of the provider's list of events are too long; it is read in smaller ones", "source", g.name, "error", err)
		case err != nil && !restarted && g.cursors.Pages() > 1 && class.Repeats() && !errors.Is(err, provider.ErrPageTooLong):
			restarted = true
			g.log.Info("a page of the provider's list of events was refused; it is read from its beginning again", "source", g.name, "error", err)
		default:
			return err
		}
	}
}

func (g *gaps) readOnce(ctx context.Context) error {
	begun := g.now()
	list := g.def.EventList()
	g.distrust(begun)
	g.reading, g.from = begun, g.state.Mark
	if g.state.Check {
		g.from = g.state.Whole
	}
	since, err := g.begin(ctx, list)
	if err != nil {
		return err
	}
	g.open, g.newest, g.confirmed = nil, time.Time{}, time.Time{}
	g.listed, g.unread, g.garbled = 0, 0, nil
	g.cursors = provider.Cursors{Max: g.settings.MaxPages}
	for cursor := ""; ; {
		page, err := g.read(ctx, since, cursor)
		if err != nil {
			return err
		}
		g.confirmed = g.newest
		if err := g.sift(ctx, page, !list.NewestFirst); err != nil {
			return err
		}
		if page.Next == "" {
			break
		}
		if err := g.catchUp(ctx, !list.NewestFirst); err != nil {
			return err
		}
		if err := g.follow(&g.cursors, "events", page.Next); err != nil {
			return g.endless(err)
		}
		cursor = page.Next
	}
	if err := g.finish(ctx); err != nil {
		return err
	}
	if g.listed == 0 && g.unread > 0 {
		return nil // a list without one readable element says nothing
	}
	g.state.Complete = begun
	g.advance(g.newest)
	if g.state.Check = !g.from.Equal(g.state.Whole); !g.state.Check {
		g.state.Whole = g.state.Mark
	}
	if len(g.open) == 0 {
		g.state.Moved = g.now()
	}
	return nil
}

// begin returns where this reading begins: not before the log does.
func (g *gaps) begin(ctx context.Context, list provider.EventList) (time.Time, error) {
	since, err := g.wanted(ctx, list)
	if kept := g.kept(); since.Before(kept) {
		since = kept
	}
	return since, err
}

// kept is the time from which on the log has every event that came. An event that the
// log has forgotten would look missed. The margin covers differing clocks and the time
// that a reading takes.
func (g *gaps) kept() time.Time {
	if g.retain <= 0 {
		return time.Time{}
	}
	return g.now().Add(-config.RememberedFor(g.retain))
}

// wanted returns where this reading must begin to miss nothing.
func (g *gaps) wanted(ctx context.Context, list provider.EventList) (time.Time, error) {
	now := g.now()
	if !g.since.IsZero() {
		if again := g.from.Add(-g.settings.Gaps.Overlap); again.After(g.since) {
			return again, nil // an earlier reading was cut off there
		}
		return g.since, nil
	}
	if g.from.IsZero() {
		since := now.Add(-g.settings.Window)
		if list.Horizon > 0 && list.Horizon < g.settings.Window {
			since = now.Add(-list.Horizon)
		}
		return since, nil
	}
	since := g.from.Add(-g.settings.Gaps.Overlap)
	if list.Horizon <= 0 {
		return since, nil
	}
	horizon := now.Add(-list.Horizon)
	// A quiet source has an old mark and misses nothing. What counts is when the
	// list was last read to its end, and whether the mark could move then.
	if reached := g.reached(); !reached.IsZero() && reached.Before(horizon) {
		if err := g.passed(ctx, reached, horizon, list.Horizon); err != nil {
			return since, err
		}
	}
	if since.Before(horizon) {
		since = horizon
	}
	return since, nil
}

// reached is the time up to which all events are in the log: the last complete
// reading, or the mark if an event kept it from moving.
func (g *gaps) reached() time.Time {
	if g.state.Moved.Before(g.state.Complete) {
		return g.state.Mark
	}
	return g.state.Complete
}

// passed starts a sweep in place of the events that the provider does not keep any
// more.
func (g *gaps) passed(ctx context.Context, reached, horizon time.Time, kept time.Duration) error {
	id, err := g.sweep(ctx, strconv.FormatInt(g.state.Mark.UnixMilli(), 10))
	if err != nil {
		return err
	}
	// The sweep covers all events created before now. If the reading that follows
	// fails, no other sweep is needed until as much time has passed again.
	now := g.now().UTC()
	g.state.Sweep, g.state.Mark, g.state.Moved, g.state.Complete = id, horizon, now, now
	reason := fmt.Sprintf("the provider keeps events for %s only: those from %s to %s cannot be listed any more; sweep %s compares all states instead",
		kept, reached.Format(time.RFC3339), horizon.Format(time.RFC3339), id)
	g.log.Warn(reason, "source", g.name)
	g.alarm(reason)
	return nil
}

func (g *gaps) read(ctx context.Context, since time.Time, cursor string) (*provider.EventsPage, error) {
	page, err := ask(ctx, g.finder, &g.calls, request[*provider.EventsPage]{"events", event.Reconcile, func(ctx context.Context) (*provider.EventsPage, error) {
		return g.api.EventsPage(ctx, provider.EventsKey{Source: g.name, Scope: g.scope}, since, cursor, "gaps-"+g.name)
	}})
	if err != nil {
		return nil, err
	}
	if err := g.setTooLongApart(ctx, page); err != nil {
		return nil, err
	}
	g.listed, g.unread = g.listed+len(page.Events), g.unread+len(page.Unread)
	if len(page.Unread) > 0 {
		if g.garbled == nil {
			g.garbled = page.Unread[0]
		}
		g.counts["unreadable"] += int64(len(page.Unread))
		g.log.Warn("events in the provider's list could not be read", "source", g.name, "events", len(page.Unread), "first", page.Unread[0])
	}
	return page, nil
}

// sift adds the events of a page that have no row to the open ones.
func (g *gaps) sift(ctx context.Context, page *provider.EventsPage, inOrder bool) error {
	ids := make([]string, len(page.Events))
	for i, e := range page.Events {
		ids[i] = e.ID
	}
	known, err := g.known(ctx, ids)
	if err != nil {
		return err
	}
	g.counts["events"] += int64(len(ids))
	if err := g.checkOrder(page.Events, inOrder); err != nil {
		return err
	}
	for _, e := range page.Events {
		if e.Note == event.RequireUnmet {
			continue // it is not this source's to follow, so that nothing is missed without it
		}
		if !known[e.ID] && !slices.ContainsFunc(g.open, func(o *openEvent) bool { return o.id == e.ID }) {
			g.open = append(g.open, &openEvent{id: e.ID, created: e.CreatedAt, seen: page.SentAt, event: e})
		}
	}
	return nil
}

func (g *gaps) known(ctx context.Context, ids []string) (known map[string]bool, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	err = g.persist(ctx, "look for events in the log", func() error {
		known, err = g.store.KnownEvents(ctx, g.name, ids)
		return err
	})
	return known, err
}

// catchUp appends the events that have been missing for long enough, and waits while
// workers have too many of them to log. If the list is in the order of time, the mark
// moves with it, so that a long search can be resumed.
func (g *gaps) catchUp(ctx context.Context, inOrder bool) error {
	if err := g.appendMissing(ctx); err != nil {
		return err
	}
	for len(g.open) > ahead {
		g.loop.Waiting("workers")
		if !loops.Sleep(ctx, g.pace.poll) {
			return ctx.Err()
		}
		if err := g.recheck(ctx); err != nil {
			return err
		}
		if err := g.appendMissing(ctx); err != nil {
			return err
		}
		if err := g.noteProgress(ctx, inOrder); err != nil {
			return err
		}
	}
	return g.noteProgress(ctx, inOrder)
}

func (g *gaps) noteProgress(ctx context.Context, inOrder bool) error {
	if inOrder && g.isOrdered() {
		g.advance(g.confirmed)
	}
	if err := g.stuck(); err != nil {
		return g.note(ctx, err)
	}
	return g.note(ctx, g.slow())
}

// finish waits until the last missing events have been missing for long enough, and
// appends them.
func (g *gaps) finish(ctx context.Context) error {
	for {
		if err := g.appendMissing(ctx); err != nil {
			return err
		}
		i := slices.IndexFunc(g.open, func(o *openEvent) bool { return o.event != nil })
		if i < 0 {
			return g.recheck(ctx)
		}
		if !loops.Sleep(ctx, g.pace.patience-g.now().Sub(g.open[i].seen)+time.Millisecond) {
			return ctx.Err()
		}
	}
}

// patient reports whether the event has been missing for long enough.
func (g *gaps) patient(o *openEvent) bool { return g.now().Sub(o.seen) >= g.pace.patience }

// recheck drops events that have a row by now.
func (g *gaps) recheck(ctx context.Context) error {
	ids := make([]string, len(g.open))
	for i, o := range g.open {
		ids[i] = o.id
	}
	known, err := g.known(ctx, ids)
	if err != nil {
		return err
	}
	g.open = slices.DeleteFunc(g.open, func(o *openEvent) bool { return known[o.id] })
	return nil
}
