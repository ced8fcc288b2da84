package reconciler

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// search returns a search for missed events, what it has saved, and its alerts.
func (c *scene) search() *searching {
	s := &searching{}
	s.gaps = &gaps{
		finder: c.finder, task: "gaps/shop", counts: map[string]int64{}, marks: time.Hour, begun: c.clock.now(),
		state: gapState{Complete: c.clock.now()}, // not the first
		note:  func(_ context.Context, problem error) error { s.noted = problem; return nil },
		sweep: func(_ context.Context, slot string) (string, error) {
			s.sweeps = append(s.sweeps, slot)
			return "sweep_" + slot, nil
		},
		alarm: func(reason string) { s.alarms = append(s.alarms, reason) },
	}
	return s
}

type searching struct {
	*gaps
	noted  error
	sweeps []string
	alarms []string
}

// receive is the api: it appends an event as its webhook comes.
func (c *scene) receive(body string) {
	c.t.Helper()
	e, err := c.def.Event("shop", nil, []byte(body), c.clock.now())
	require.NoError(c.t, err)
	_, err = c.streams.Append(c.ctx, stream.Draft{Signal: event.Own(e, "")})
	require.NoError(c.t, err)
}

func TestAMissedEventIsRepairedAtOnceAndJudgedLater(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 2)
	at := c.clock.now().Add(-time.Hour)
	for i := range 7 {
		body := c.shop.happen(fmt.Sprintf("evt_%d", i), "order.made", at.Add(time.Duration(i)*time.Minute), "customer", "c0", "order", fmt.Sprintf("o0_%d", i%2))
		if i != 2 && i != 5 {
			c.receive(body)
		}
	}
	c.work()
	g := c.search()
	require.NoError(t, g.round(c.ctx))
	entries := c.work()
	require.Len(t, entries, 2)
	for i, id := range []string{"evt_2", "evt_5"} {
		e := entries[i].Signal
		if e.CauseID != id {
			e = entries[1-i].Signal
		}
		require.Equal(t, id, e.CauseID)
		require.Equal(t, event.CauseEvent, e.Cause)
		require.Equal(t, event.TierLive, e.Class.Tier(), "where the order of an entity is kept")
		require.Equal(t, event.Redrive, e.Class, "behind what comes in right now")
		require.NotNil(t, e.Body)
		require.Len(t, e.Body.Entities, 2)
	}
	page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{})
	require.NoError(t, err)
	require.Len(t, page.Items, 2)
	for _, d := range page.Items {
		require.Equal(t, storage.EventMissed, d.Type)
		require.Equal(t, storage.Suspected, d.Status)
		require.Equal(t, "order", d.Entity.Kind)
		require.Equal(t, "gaps/shop", d.SweepID)
		row := c.row(d.EventID)
		require.WithinDuration(t, d.FoundAt, row.ReceivedAt, time.Millisecond, "the judge can tell that it came this way")
	}
	require.NoError(t, g.round(c.ctx))
	require.Empty(t, c.entries(), "nothing is left to find")
	require.Len(t, c.recorded(), 2)
}

// recordings sees discrepancies before they are recorded.
type recordings struct {
	storage.Store
	look func([]storage.Discrepancy)
}

func (r recordings) Record(ctx context.Context, found []storage.Discrepancy) error {
	r.look(found)
	return r.Store.Record(ctx, found)
}

// A replica that is killed leaves few events repaired and unreported.
func TestFewMissedEventsAreUnrecorded(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	var missed []*event.Event
	for i := range 3*unrecorded + 1 {
		body := shopEvent(fmt.Sprintf("evt_%d", i), "order.made", c.clock.now(), "customer", "c0", "order", "o0_0")
		e, err := c.def.Event("shop", nil, []byte(body), c.clock.now())
		require.NoError(t, err)
		missed = append(missed, e)
	}
	recorded := 0
	c.finder.store = recordings{c.store, func(found []storage.Discrepancy) {
		shards, _, err := c.streams.Fleet(c.ctx, []string{"shop"})
		require.NoError(t, err)
		appended := 0
		for _, s := range shards {
			appended += int(s.Sources["shop"].Live)
		}
		require.LessOrEqual(t, appended-recorded, unrecorded)
		recorded += len(found)
	}}
	require.NoError(t, c.search().repair(c.ctx, missed))
	require.Equal(t, len(missed), recorded)
}

func (c *scene) row(id string) *storage.EventRow {
	c.t.Helper()
	rows, err := c.store.EventByID(c.ctx, "shop", id)
	require.NoError(c.t, err)
	return rows[0]
}

func TestTheMarkStopsBeforeAnEventWithoutARow(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	at := c.clock.now().Add(-10 * time.Hour).Truncate(time.Millisecond)
	for i := range 9 {
		c.shop.happen(fmt.Sprintf("evt_%d", i), "order.made", at.Add(time.Duration(i)*time.Hour), "customer", "c0", "order", "o0_0")
	}
	g := c.search()
	require.NoError(t, g.round(c.ctx))
	require.False(t, g.state.Mark.After(at), "no event has a row yet")
	require.Len(t, c.work(), 9)
	require.NoError(t, g.round(c.ctx))
	require.Equal(t, at.Add(8*time.Hour).Add(-gapsLag).UTC(), g.state.Mark)

	c.shop.calls()
	require.NoError(t, g.round(c.ctx))
	require.Len(t, c.shop.calls(), 1, "the next reading begins at the mark")
	require.NotEmpty(t, g.state.Complete)
}

// An event that never gets its row stops the mark, and an alert is raised.
func TestAFrozenMarkIsNoticed(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	at := c.clock.now().Add(-time.Hour)
	for i := range 5 {
		c.receive(c.shop.happen(fmt.Sprintf("evt_%d", i), "order.made", at.Add(time.Duration(i)*time.Minute), "customer", "c0", "order", "o0_0"))
	}
	c.work()
	g := c.search()
	require.NoError(t, g.round(c.ctx))
	c.shop.happen("stuck", "order.made", at.Add(10*time.Minute), "customer", "c0", "order", "o0_0")
	c.receive(c.shop.happen("later", "order.made", at.Add(20*time.Minute), "customer", "c0", "order", "o0_0"))
	require.NoError(t, g.round(c.ctx))
	require.NoError(t, g.stuck(), "not yet")
	stood := g.state.Mark
	c.clock.move(3 * time.Minute)
	require.NoError(t, g.round(c.ctx))
	require.NoError(t, g.stuck())
	c.clock.move(3 * time.Minute)
	require.NoError(t, g.round(c.ctx))
	require.Equal(t, stood, g.state.Mark)
	require.ErrorContains(t, g.stuck(), "event stuck of")
	require.Len(t, g.alarms, 1)
	require.NoError(t, g.round(c.ctx))
	require.Error(t, g.stuck())
	require.Len(t, g.alarms, 1, "once")

	require.NotEmpty(t, c.work())
	require.NoError(t, g.round(c.ctx))
	require.NoError(t, g.stuck())
	require.True(t, g.state.Mark.After(stood))
}

func TestWhatWaitsInItsStreamIsNotMissing(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.receive(c.shop.happen("evt_1", "order.made", c.clock.now().Add(-time.Minute), "customer", "c0", "order", "o0_0"))
	g := c.search()
	require.NoError(t, g.round(c.ctx))
	require.Empty(t, c.recorded())
	require.Len(t, c.entries(), 1, "and is not appended again")

	// Its mark has run out, but the shard has entries older than that.
	c.receive(c.shop.happen("evt_2", "order.made", c.clock.now().Add(-time.Minute), "customer", "c0", "order", "o0_0"))
	e, err := c.def.Event("shop", nil, []byte(c.shop.events[1]), c.clock.now())
	require.NoError(t, err)
	require.NoError(t, c.streams.ForgetEvents(c.ctx, map[string]event.Key{"evt_2": e.Home()}))
	g.marks = time.Nanosecond
	require.NoError(t, g.round(c.ctx))
	require.Empty(t, c.recorded())
	require.Len(t, c.work(), 1)
}

func TestAnEventOnItsWayIsGivenAMoment(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.finder.pace.patience = 5 * time.Second
	body := c.shop.happen("evt_1", "order.made", c.clock.now(), "customer", "c0", "order", "o0_0")
	worked := make(chan struct{})
	c.shop.interfere(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/events" {
			c.shop.interfere(nil)
			time.AfterFunc(20*time.Millisecond, func() {
				defer close(worked)
				c.receive(body)
				c.work()
			})
		}
		return false
	})
	g := c.search()
	require.NoError(t, g.round(c.ctx))
	<-worked
	require.Empty(t, c.recorded())
	require.Zero(t, c.row("evt_1").Duplicates)
}

// The database was restored from an older copy: Redis remembers the event as
// processed, the log does not know it.
func TestAnEventTheLogHasForgotten(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.receive(c.shop.happen("evt_1", "order.made", c.clock.now().Add(-time.Minute), "customer", "c0", "order", "o0_0"))
	require.Len(t, c.entries(), 1) // acked, and never logged
	g := c.search()
	require.NoError(t, g.round(c.ctx))
	require.Equal(t, []string{"event_missed order/o0_0"}, c.recorded())
	require.Len(t, c.work(), 1)
	c.row("evt_1")
}

// After an outage of days there are many pages, and a search that is cut off resumes
// there.
func TestAnOutageOfDays(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 3)
	at := c.clock.now().Add(-100 * time.Hour).Truncate(time.Millisecond)
	g := c.search()
	g.state = gapState{Mark: at.UTC(), Complete: at.UTC(), Moved: at.UTC()}
	for i := range 200 {
		c.shop.happen(fmt.Sprintf("evt_%d", i), "order.made", at.Add(time.Duration(i)*time.Minute*30), "customer", "c0", "order", fmt.Sprintf("o0_%d", i%3))
	}
	pages := 0
	ctx, stop := context.WithCancel(c.ctx)
	defer stop()
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/events" {
			return false
		}
		if pages++; pages == 50 {
			stop()
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		if pages%10 == 0 { // workers are at it meanwhile
			time.Sleep(c.finder.pace.patience)
			c.work()
		}
		return false
	})
	require.Error(t, g.round(ctx))
	require.True(t, g.state.Mark.After(at.Add(20*time.Hour)), "%s", g.state.Mark.Sub(at))
	require.True(t, g.state.Mark.Before(at.Add(50*time.Hour)))
	pages = 1000
	c.shop.calls()
	require.NoError(t, g.round(c.ctx))
	calls := slices.DeleteFunc(c.shop.calls(), func(path string) bool { return path != "/events" })
	require.Less(t, len(calls), 90, "it does not start over")
	c.work()
	for i := range 200 {
		c.row("evt_" + strconv.Itoa(i))
	}
	page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{Limit: 200})
	require.NoError(t, err)
	require.Len(t, page.Items, 200)
}

func TestThePassedHorizonIsSaid(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	old := c.clock.now().Add(-31 * 24 * time.Hour)
	g := c.search()
	g.state = gapState{Mark: old, Complete: old, Moved: old}
	require.NoError(t, g.round(c.ctx))
	require.Equal(t, []string{strconv.FormatInt(old.UnixMilli(), 10)}, g.sweeps)
	require.Len(t, g.alarms, 1)
	require.Contains(t, g.alarms[0], "the provider keeps events for 720h0m0s only")
	require.NoError(t, g.round(c.ctx))
	require.Len(t, g.sweeps, 1, "once")

	// Nor again and again while the list that is left cannot be read.
	g = c.search()
	g.state = gapState{Mark: old, Complete: old, Moved: old}
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/events" {
			w.WriteHeader(http.StatusBadRequest)
		}
		return r.URL.Path == "/events"
	})
	for range 3 {
		require.Error(t, g.round(c.ctx))
		c.clock.move(time.Minute)
	}
	require.Len(t, g.sweeps, 1)
	require.Len(t, g.alarms, 1)
	c.shop.interfere(nil)

	// A source that was quiet for as long has missed nothing.
	g = c.search()
	g.state = gapState{Mark: old, Complete: c.clock.now().Add(-time.Minute), Moved: c.clock.now().Add(-time.Minute)}
	require.NoError(t, g.round(c.ctx))
	require.Empty(t, g.sweeps)
}

func TestTheFirstSearchReachesBackAWindow(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	for _, days := range []int{9, 8, 6, 1} {
		c.shop.happen(fmt.Sprintf("days_%d", days), "order.made", c.clock.now().Add(-time.Duration(days)*24*time.Hour), "customer", "c0", "order", "o0_0")
	}
	g := c.search()
	g.state = gapState{}
	require.NoError(t, g.round(c.ctx))
	require.Len(t, c.work(), 2)
	require.Empty(t, c.recorded(), "what happened before anybody was there was not missed")
	c.shop.happen("missed", "order.made", c.clock.now(), "customer", "c0", "order", "o0_0")
	require.NoError(t, g.round(c.ctx))
	require.Len(t, c.work(), 1)
	require.Len(t, c.recorded(), 1, "from then on it is")

	// An api that was there before the first search has missed what came since.
	g = c.search()
	g.state = gapState{}
	for _, id := range []string{"after_1", "after_2", "after_3"} {
		c.shop.happen(id, "order.made", c.clock.now().Add(time.Minute), "customer", "c0", "order", "o0_0")
	}
	require.NoError(t, g.round(c.ctx))
	require.Len(t, c.recorded(), 4)
	c.work()

	g = c.search()
	g.since = c.clock.now().Add(-200 * time.Hour)
	require.NoError(t, g.round(c.ctx))
	require.Len(t, c.work(), 1, "as far as an operator says: one more")
}

// An event that the log has forgotten was not missed.
func TestTheSearchReachesBackNoFurtherThanTheLog(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.finder.retain = 72 * time.Hour
	old := c.clock.now().Add(-100 * time.Hour)
	c.shop.happen("forgotten", "order.made", old, "customer", "c0", "order", "o0_0")
	c.shop.happen("soon", "order.made", c.clock.now().Add(-71*time.Hour-time.Minute), "customer", "c0", "order", "o0_0")
	g := c.search()
	g.state = gapState{Mark: old, Complete: c.clock.now(), Moved: c.clock.now()} // it has been quiet
	require.NoError(t, g.round(c.ctx))
	g.since = c.clock.now().Add(-200 * time.Hour) // nor if a person says so
	require.NoError(t, g.round(c.ctx))
	require.Empty(t, c.recorded())
	require.Empty(t, c.entries())

	c.shop.happen("missed", "order.made", c.clock.now().Add(-70*time.Hour), "customer", "c0", "order", "o0_0")
	require.NoError(t, g.round(c.ctx))
	require.Equal(t, []string{"event_missed order/o0_0"}, c.recorded())
}

// An event longer than the log keeps raises an alert and is not appended. The entities
// it names are fetched, once.
func TestAnEventTooLongForTheLogIsNotAppended(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.shop.happen("evt_long", "order.made", c.clock.now().Add(-time.Minute), "customer", "c0", "order", "o0_0")
	c.shop.mu.Lock()
	last := len(c.shop.events) - 1
	c.shop.events[last] = strings.TrimSuffix(c.shop.events[last], "}") + `,"more":"` + strings.Repeat("x", storage.MaxPayload) + `"}`
	c.shop.mu.Unlock()
	g := c.search()
	for n := range 2 {
		require.NoError(t, g.round(c.ctx))
		require.EqualValues(t, n+1, g.counts["unreadable"])
		require.ErrorContains(t, g.wrong(), "more than the log keeps")
		require.Empty(t, c.recorded())
		var fetched []string
		for _, s := range c.work() {
			require.Nil(t, s.Signal.Body)
			fetched = append(fetched, s.Signal.Ref.Key.Kind+"/"+s.Signal.Ref.Key.ID)
		}
		if n == 0 {
			require.Equal(t, []string{"customer/c0", "order/o0_0"}, fetched)
		} else {
			require.Empty(t, fetched, "a while ago")
		}
	}
	require.Len(t, g.alarms, 1)
}

func TestEventsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.shop.mu.Lock()
	c.shop.events = append(c.shop.events, `{"type":"order.made","created_at":"2999-01-01T00:00:00Z"}`, `7`, `{"id":"","type":"order.made","created_at":"2999-01-01T00:00:00Z"}`)
	c.shop.mu.Unlock()
	c.shop.happen("evt_1", "order.made", c.clock.now().Add(-time.Minute), "customer", "c0", "order", "o0_0")
	c.shop.happen("nothing", "weather.changed", c.clock.now().Add(-time.Minute))
	g := c.search()
	require.NoError(t, g.round(c.ctx))
	require.EqualValues(t, 3, g.counts["unreadable"])
	for range 2 {
		require.ErrorContains(t, g.wrong(), "3 events in the provider's list cannot be read")
	}
	require.Len(t, g.alarms, 1, "once")
	require.Len(t, c.work(), 2)
	require.Equal(t, []string{"event_missed /", "event_missed order/o0_0"}, c.recorded())

	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/events" {
			_, _ = fmt.Fprint(w, `{"data":[],"next":"round"}`)
		}
		return r.URL.Path == "/events"
	})
	require.ErrorContains(t, g.round(c.ctx), "goes round")
}

// A list without one readable element says nothing.
func TestAListOfWhichNothingCanBeRead(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.mu.Lock()
	c.shop.events = []string{`7`, `{"type":"order.made","created_at":"2999-01-01T00:00:00Z"}`}
	c.shop.mu.Unlock()
	g := c.search()
	was := g.state
	c.clock.move(time.Minute)
	require.NoError(t, g.round(c.ctx))
	require.Equal(t, was, g.state)
	require.ErrorContains(t, g.wrong(), "2 events")
}

// A list that cannot be read for long raises one alert, also if it never could be
// read.
func TestAListThatFailsForLongRaisesAnAlert(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]func(*scene) gapState{
		"ever since": func(*scene) gapState { return gapState{} },
		"lately":     func(c *scene) gapState { return gapState{Complete: c.clock.now(), Moved: c.clock.now()} },
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			g := c.search()
			g.state = state(c)
			c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
				w.WriteHeader(http.StatusBadRequest)
				return true
			})
			fail := func() {
				problem := g.round(c.ctx)
				require.Error(t, problem)
				g.failing(problem)
			}
			fail()
			require.Empty(t, g.alarms, "not yet")
			c.clock.move(frozenAfter)
			fail()
			fail()
			require.Len(t, g.alarms, 1, "once")
			require.Regexp(t, `has not come to the end of the provider's list for 5m\d+s`, g.alarms[0]) // and as long as the round took
			c.shop.interfere(nil)
			require.NoError(t, g.round(c.ctx))
			require.NoError(t, g.wrong())
			require.Len(t, g.alarms, 1)
		})
	}
}

// The provider's clock may be minutes off ours, either way.
func TestGapsWithClocksThatDisagree(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-7 * time.Minute, 7 * time.Minute} {
		t.Run(off.String(), func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(1, 1)
			g := c.search()
			var newest time.Time
			for i := range 4 {
				at := time.Now().Add(off).Add(time.Duration(i) * time.Second)
				newest = at
				body := c.shop.happen(fmt.Sprintf("evt_%d", i), "order.made", at, "customer", "c0", "order", "o0_0")
				if i%2 == 0 {
					c.receive(body)
				}
				c.work()
				require.NoError(t, g.round(c.ctx))
				c.work()
				require.NoError(t, g.round(c.ctx))
			}
			require.Len(t, c.recorded(), 2)
			if off > 0 {
				require.False(t, g.state.Mark.After(time.Now()), "what is dated later moves no mark")
				c.clock.move(2 * off) // until then
				require.NoError(t, g.round(c.ctx))
			}
			require.WithinDuration(t, newest.Add(-gapsLag), g.state.Mark, 10*time.Second)
		})
	}
}
