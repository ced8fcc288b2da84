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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// ordered makes an event of the first order of the first customer, not sent.
func (c *scene) ordered(id string, at time.Time) string {
	return c.shop.happen(id, "order.made", at, "customer", "c0", "order", "o0_0")
}

// missed counts the events on record as missed.
func (c *scene) missed() int {
	c.t.Helper()
	page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{Type: storage.EventMissed, Limit: 200})
	require.NoError(c.t, err)
	return len(page.Items)
}

// blockedFor reads the gauge of a search that is held up.
func (c *scene) blockedFor() float64 {
	c.t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(c.finder.metrics.GapsBlocked)
	families, err := r.Gather()
	require.NoError(c.t, err)
	require.Len(c.t, families, 1)
	require.Equal(c.t, "tarn_gaps_blocked_seconds", families[0].GetName())
	return families[0].GetMetric()[0].GetGauge().GetValue()
}

// One event dated two days ahead does not end the search until then.
func TestAnEventOfTheFutureEndsNoSearch(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]func(now time.Time) gapState{
		"listed": func(now time.Time) gapState { return gapState{Complete: now} },
		"believed by an earlier release": func(now time.Time) gapState {
			ahead := now.Add(48 * time.Hour)
			return gapState{Mark: ahead, Complete: now, Moved: now}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(1, 1)
			c.receive(c.ordered("evt_ahead", c.clock.now().Add(48*time.Hour)))
			c.work()
			g := c.search()
			g.state = state(c.clock.now().Add(-time.Minute))
			require.NoError(t, g.round(c.ctx))
			require.False(t, g.state.Mark.After(g.reading), "no mark passes the reading it comes from")
			c.clock.move(time.Minute)
			c.receive(c.ordered("evt_1", c.clock.now()))
			c.ordered("evt_2", c.clock.now())
			c.work()
			require.NoError(t, g.round(c.ctx))
			require.Equal(t, 1, c.missed(), "evt_2 is found in the next reading")
			c.work()
			c.clock.move(time.Minute)
			require.NoError(t, g.round(c.ctx))
			require.WithinDuration(t, c.clock.now().Add(-time.Minute-gapsLag), g.state.Mark, 10*time.Second, "and the mark goes on")
		})
	}
}

// The mark of a search that is cut off relies on the order of the list, which is
// checked: nothing is skipped, even if the definition is wrong.
func TestTheOrderOfTheListIsChecked(t *testing.T) {
	t.Parallel()
	const n = 20
	for name, times := range map[string]func(i int) time.Duration{
		"newest first":     func(i int) time.Duration { return time.Duration(n-i) * time.Hour },
		"by another order": func(i int) time.Duration { return time.Duration(i*7%n) * time.Hour },
		"one in the middle": func(i int) time.Duration {
			return time.Duration(map[bool]int{true: 1, false: i + 2}[i == 12]) * time.Hour
		},
	} {
		for cut := 1; cut < n/2; cut += 3 {
			t.Run(fmt.Sprintf("%s, cut off at page %d", name, cut+1), func(t *testing.T) {
				c := newScene(t)
				c.shop.stock(1, 1)
				first := c.clock.now().Add(-30 * time.Hour)
				for i := range n {
					c.ordered(fmt.Sprintf("evt_%d", i), first.Add(times(i)))
				}
				pages := 0
				ctx, stop := context.WithCancel(c.ctx)
				defer stop()
				c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path == "/events" {
						c.clock.move(time.Second) // events are patient
						c.work()
						pages++
					}
					if pages == cut+1 {
						stop()
						w.WriteHeader(http.StatusBadRequest)
						return true
					}
					return false
				})
				g := c.search()
				require.Error(t, g.round(ctx))
				for begun := true; begun || g.state.Check; begun = false {
					if g.round(c.ctx) != nil {
						require.NoError(t, g.round(c.ctx), "from the beginning")
					}
					c.work()
				}
				for i := range n {
					c.row("evt_" + strconv.Itoa(i))
				}
				require.Len(t, g.alarms, 1, "once")
				require.Contains(t, g.alarms[0], "api.events.order")
			})
		}
	}
}

// In order, a page moves the mark only when the next has followed it.
func TestAPageMovesTheMarkWhenTheNextHasFollowed(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	at := c.clock.now().Add(-10 * time.Hour).Truncate(time.Millisecond)
	for i := range 6 {
		c.receive(c.ordered(fmt.Sprintf("evt_%d", i), at.Add(time.Duration(i)*time.Hour)))
	}
	c.work()
	var marks []time.Time
	g := c.search()
	c.shop.interfere(func(http.ResponseWriter, *http.Request) bool { // of events only
		marks = append(marks, g.state.Mark)
		return false
	})
	require.NoError(t, g.round(c.ctx))
	require.Equal(t, []time.Time{{}, {}, at.Add(time.Hour - gapsLag).UTC()}, marks)
	require.Equal(t, at.Add(5*time.Hour-gapsLag).UTC(), g.state.Mark)
	require.Equal(t, g.state.Mark, g.state.Whole)
	require.Empty(t, g.alarms)
}

// A reading is bounded. If the list is in order, the next reading continues, as often
// as necessary.
func TestALongListIsReadInSeveralRounds(t *testing.T) {
	t.Parallel()
	const n = 60
	c := newScene(t)
	c.shop.stock(1, 1)
	c.finder.settings.MaxPages = 12
	at := c.clock.now().Add(-n * time.Hour)
	for i := range n {
		c.ordered(fmt.Sprintf("evt_%d", i), at.Add(time.Duration(i)*time.Hour))
	}
	c.shop.interfere(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/events" {
			c.clock.move(time.Second) // events are patient
			c.work()
		}
		return false
	})
	g := c.search()
	rounds := 1
	for ; ; rounds++ {
		c.shop.calls()
		err := g.round(c.ctx)
		require.LessOrEqual(t, len(slices.DeleteFunc(c.shop.calls(), func(p string) bool { return p != "/events" })), 12)
		if err == nil {
			break
		}
		require.ErrorIs(t, err, errCut)
		require.Equal(t, c.finder.pace.backoff, g.pause(time.Hour, err), "it goes on at once")
		require.Less(t, rounds, 10)
	}
	require.Greater(t, rounds, 2)
	c.work()
	for i := range n {
		c.row("evt_" + strconv.Itoa(i))
	}
	require.Empty(t, g.alarms)

	again := c.search() // by hand it is one search
	again.since = at.Add(-time.Hour)
	c.shop.calls()
	require.NoError(t, again.once(c.ctx))
	require.Greater(t, len(c.shop.calls()), 30)
}

// A list whose cursors never end is read as far as the bound, and an alert is raised.
func TestAnEndlessListOfEvents(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.finder.settings.MaxPages = 20
	pages := 0
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if pages++; r.URL.Path == "/events" {
			_, _ = fmt.Fprintf(w, `{"data":[],"next":"c%d"}`, pages)
		}
		return r.URL.Path == "/events"
	})
	g := c.search()
	for range 2 {
		err := g.round(c.ctx)
		require.ErrorIs(t, err, provider.ErrEndless)
		require.NotErrorIs(t, err, errCut)
		require.Equal(t, time.Hour, g.pause(time.Hour, err), "it leaves budget to others")
	}
	require.Equal(t, 40, pages)
	require.Len(t, g.alarms, 1, "once")
	require.Contains(t, g.alarms[0], "reconcile.max_pages")

	// One that takes long raises an alert before it comes to the bound, and the gauge shows it.
	g = c.search()
	pages, c.finder.settings.MaxPages = 0, 0
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		pages++
		c.clock.move(time.Minute)
		if r.URL.Path != "/events" || len(g.alarms) > 0 || pages > 100 {
			return false
		}
		_, _ = fmt.Fprintf(w, `{"data":[],"next":"d%d,"}`, pages)
		return true
	})
	_ = g.round(c.ctx)
	require.Len(t, g.alarms, 1)
	require.Contains(t, g.alarms[0], "the end has not come after")
	require.Less(t, pages, 20)
	require.NotZero(t, c.blockedFor())
	c.shop.interfere(nil)
	require.NoError(t, g.round(c.ctx))
	require.NoError(t, g.wrong())
	require.Zero(t, c.blockedFor())
}

// So is a list of entities.
func TestAnEndlessListOfEntities(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.finder.settings.MaxPages = 20
	var alerts []alert.Alert
	c.finder.alert = func(a alert.Alert) { alerts = append(alerts, a) }
	pages := 0
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/customers/c0/orders" {
			return false
		}
		pages++
		_, _ = fmt.Fprintf(w, `{"data":[],"next":"c%d"}`, pages)
		return true
	})
	s := c.survey(modeBackfill)
	require.Equal(t, 20, pages)
	require.EqualValues(t, 1, s.counts["failed_lists"])
	require.Len(t, alerts, 1)
	require.Equal(t, alert.ListTooLong, alerts[0].Kind)
	require.Contains(t, alerts[0].Reason, "list of order: ")
	require.Contains(t, alerts[0].Reason, "reconcile.max_pages")
}

// Events whose page is too long are listed in smaller ones.
func TestAPageOfEventsTooLong(t *testing.T) {
	t.Parallel()
	def, err := provider.Parse("shop.yaml", []byte(strings.Replace(shopDefinition, "limit: 2", "limit: 100", 1)))
	require.NoError(t, err)
	s := newShop(t)
	c := newSceneAt(t, def, "shop", s.URL, s)
	c.shop.stock(1, 1)
	small, err := provider.NewClient(c.def, provider.ClientOptions{BaseURL: c.shop.URL, Key: "key", MaxBody: 8 << 10, Now: c.clock.now})
	require.NoError(t, err)
	t.Cleanup(small.Close)
	c.finder.api = small
	at := c.clock.now().Add(-time.Hour)
	for i := range 8 {
		c.ordered(fmt.Sprintf("evt_%d", i), at.Add(time.Duration(i)*time.Minute))
		if i < 2 {
			continue // the first page is none too long
		}
		c.shop.mu.Lock()
		c.shop.events[i] = strings.TrimSuffix(c.shop.events[i], "}") + `,"more":"` + strings.Repeat("x", 5<<10) + `"}`
		c.shop.mu.Unlock()
	}
	g := c.search()
	require.NoError(t, g.round(c.ctx))
	require.Equal(t, 8, c.missed())
	c.shop.calls()
	require.NoError(t, g.round(c.ctx))
	require.Len(t, c.shop.calls(), 8, "one a page, as was found out")
	require.Empty(t, g.alarms)
}

// A list of events begins again, once, when a page after the first is refused.
func TestALostCursorOfTheListOfEvents(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	at := c.clock.now().Add(-time.Hour)
	for i := range 5 {
		c.ordered(fmt.Sprintf("evt_%d", i), at.Add(time.Duration(i)*time.Minute))
	}
	refused, firsts := 0, 0
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/events" {
			return false
		}
		if r.URL.Query().Get("cursor") == "" {
			firsts++
			return false
		}
		if refused == 0 {
			return false
		}
		refused--
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"message":"no such cursor"}`))
		return true
	})
	g := c.search()
	refused = 1
	require.NoError(t, g.round(c.ctx))
	require.Equal(t, 5, c.missed())
	require.Equal(t, 2, firsts)

	refused, firsts = 2, 0
	require.ErrorContains(t, g.round(c.ctx), "HTTP 400")
	require.Equal(t, 2, firsts, "once")
}

// A fill by events is not repeated for one that is dated in the future.
func TestAFillByEventsOfTheFuture(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.ordered("evt_ahead", c.clock.now().Add(48*time.Hour))
	c.fill()
	fetched := func() int {
		p := &partition{
			survey: survey{finder: c.finder, mode: modeBackfill, id: "backfill_1", counts: map[string]int64{}, failed: map[string]bool{}, keep: nil},
			spec:   partitionSpec{Mode: modeBackfill, Events: true},
		}
		require.NoError(t, p.events(c.ctx, &place{}))
		n := 0
		for _, e := range c.work() {
			if e.Signal.Ref.Key.Kind == "order" && e.Signal.Cause == event.CauseSweep {
				n++
			}
		}
		return n
	}
	c.clock.move(time.Minute)
	require.Equal(t, 1, fetched(), "it may have happened now")
	c.clock.move(time.Hour)
	c.fill()
	c.clock.move(-30 * time.Minute)
	require.Zero(t, fetched(), "it has been looked at since it was listed")
}

// A list of entities whose later page is too long is read from its beginning again,
// in smaller ones, until one fits.
func TestAPageOfEntitiesTooLong(t *testing.T) {
	t.Parallel()
	def, err := provider.Parse("shop.yaml", []byte(strings.Replace(shopDefinition, "limit: 2", "limit: 4", 1)))
	require.NoError(t, err)
	s := newShop(t)
	c := newSceneAt(t, def, "shop", s.URL, s)
	c.shop.stock(1, 8)
	for i := 4; i < 8; i++ {
		id := fmt.Sprintf("o0_%d", i)
		state := shopOrder(id, 1, "created")
		c.shop.put("/customers/c0/orders/"+id, strings.TrimSuffix(state, "}")+`,"more":"`+strings.Repeat("x", 5<<10)+`"}`)
	}
	small, err := provider.NewClient(c.def, provider.ClientOptions{BaseURL: c.shop.URL, Key: "key", MaxBody: 8 << 10, Now: c.clock.now})
	require.NoError(t, err)
	t.Cleanup(small.Close)
	c.finder.api = small
	survey := c.survey(modeBackfill)
	require.EqualValues(t, 8, survey.counts["kind.order"], "each counted once")
	require.Zero(t, survey.counts["failed_lists"])
	c.work()
	require.Empty(t, c.differences())
}
