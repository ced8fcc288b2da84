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
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/provider"
)

const (
	// gapsLag is how late an event may show up in the provider's list among
	// older ones: the mark stays that far behind what was listed.
	gapsLag = 30 * time.Second
	// frozenAfter is how long the mark may stand still before somebody is told.
	frozenAfter = 5 * time.Minute
)

// gapState is how far the search for missed events has come.
type gapState struct {
	// Mark: every event created before it has a row in the log. It is a time of the
	// provider's, and never later than the reading it comes from was begun.
	Mark time.Time `json:"mark,omitzero"`
	// Whole is the mark of the last reading that came to the end of the list. What
	// has moved the mark since then rests on the order of the list.
	Whole time.Time `json:"whole,omitzero"`
	// Check: a reading that was begun at such a mark has come to the end. The next
	// begins at Whole, to see whether it was right.
	Check bool `json:"check,omitempty"`
	// Unordered is when the list was last seen not to be in the order that its
	// definition says. Zero: never.
	Unordered time.Time `json:"unordered,omitzero"`
	// Complete is when the last reading that came to the end of the list was
	// begun: what was created before it has been listed.
	Complete time.Time `json:"complete,omitzero"`
	// Moved is when the mark last moved, or nothing kept it from moving.
	Moved time.Time `json:"moved,omitzero"`
	// Sweep is the sweep that stands in for events the provider had given up
	// before they could be read. "" if there was none.
	Sweep string `json:"sweep,omitempty"`
}

// gaps searches the provider's list of events for ones that never came.
//
// A missing event is appended as the webhook would have been, with its own
// entry, marked by its id: to the live stream, where the order of an entity is
// kept, but in the class redrive, so that what comes in right now is fetched
// first. The mark in Redis also tells whether the event is really missing or
// only waits in its stream; since marks run out, events of a shard with entries
// older than that are left alone until the shard has caught up.
//
// An event may be on its way by webhook at the very moment it is listed, so a
// missing one is looked up once more after a second.
//
// The provider's clock dates events, and it may be wrong. What is dated after the
// reading began moves no mark: one event of the year 2999 would end the search
// until then. The order of the list is the provider's too; gapsorder.go checks it.
type gaps struct {
	*finder
	task  string
	state gapState
	// since is where a search started by hand begins. Zero: at the mark.
	since  time.Time
	counts map[string]int64
	calls  int64
	// marks is how long Redis remembers an event.
	marks time.Duration
	// open are the events listed that have no row yet, oldest first.
	open []*openEvent
	// newest is the time of the newest event listed, as far as it is not after the
	// reading began; confirmed is that of the pages before the last, which this has
	// shown to be in order.
	newest, confirmed time.Time
	// reading is when the reading under way was begun, and from the mark it began at,
	// zero at none.
	reading time.Time
	from    time.Time
	// cursors are those of the reading.
	cursors provider.Cursors
	// listed and unread are how many elements of the list this reading could read
	// and could not; garbled says why not of the first.
	listed, unread int
	garbled        error
	// begun is when this process took up the search.
	begun time.Time
	// toldFailing and toldUnread: a human was told that readings fail, and that
	// elements cannot be read.
	toldFailing, toldUnread bool
	// problem is what has kept the mark from moving for too long.
	problem error

	// note saves the state, with what is wrong, nil if nothing is.
	note func(ctx context.Context, problem error) error
	// sweep starts a sweep of the source and returns its id.
	sweep func(ctx context.Context, slot string) (string, error)
	// alarm tells a human.
	alarm func(reason string)
}

// openEvent is an event without a row in the log.
type openEvent struct {
	id      string
	created time.Time
	seen    time.Time
	// event is nil once it was appended.
	event *event.Event
}

// round reads the list once, from the mark to its end. A page that proves too long
// is asked for in smaller ones, if need be from the mark again.
func (g *gaps) round(ctx context.Context) error {
	for {
		err := g.readOnce(ctx)
		if !errors.Is(err, provider.ErrBeginAgain) {
			return err
		}
		g.log.Info("pages of the provider's list of events are too long; it is read in smaller ones", "source", g.name, "error", err)
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
		return nil // of a list of which nothing can be read nothing is known
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

// begin is where this reading begins: not before the log does.
func (g *gaps) begin(ctx context.Context, list provider.EventList) (time.Time, error) {
	since, err := g.wanted(ctx, list)
	if kept := g.kept(); since.Before(kept) {
		since = kept
	}
	return since, err
}

// kept is from when on the log is sure to have what came. What it has forgotten
// would look as if it had been missed. The margin is for clocks that disagree and
// for as long as a reading takes.
func (g *gaps) kept() time.Time {
	if g.retain <= 0 {
		return time.Time{}
	}
	return g.now().Add(-config.RememberedFor(g.retain))
}

// wanted is where this reading should begin for nothing to be missed.
func (g *gaps) wanted(ctx context.Context, list provider.EventList) (time.Time, error) {
	now := g.now()
	if !g.since.IsZero() {
		if again := g.from.Add(-g.settings.Gaps.Overlap); again.After(g.since) {
			return again, nil // it was cut off there
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
	// A quiet source has an old mark and misses nothing: what counts is when
	// the list was last read to its end, and what stood in the way since then.
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

// reached is the time up to which events are known to be in the log: the last
// complete reading, unless an event kept the mark back.
func (g *gaps) reached() time.Time {
	if g.state.Moved.Before(g.state.Complete) {
		return g.state.Mark
	}
	return g.state.Complete
}

// passed falls back to a comparison of states for the time of which the
// provider has no events any more.
func (g *gaps) passed(ctx context.Context, reached, horizon time.Time, kept time.Duration) error {
	id, err := g.sweep(ctx, strconv.FormatInt(g.state.Mark.UnixMilli(), 10))
	if err != nil {
		return err
	}
	// What was created before now is the sweep's business, should the reading that
	// follows fail: it need not be started again until as much time has passed.
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
		return g.api.EventsPage(ctx, g.name, since, cursor, "gaps-"+g.name)
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

// sift keeps the events of a page that have no row.
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

// catchUp appends what has been missing for long enough and waits while too
// much of it has not been logged by the workers. Where the list is in the order
// of time, the mark moves with it, so that a long search goes on where it was.
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

// finish waits until the last events found missing have been so for long
// enough, and appends them.
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
