package reconciler

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

func (c *scene) verify() *Report {
	c.t.Helper()
	r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(c.t, err)
	return r
}

// different are a report's differences, as "type kind/id".
func (r *Report) different() []string {
	out := []string{}
	for _, d := range r.Differences {
		out = append(out, fmt.Sprintf("%s %s/%s", d.Type, d.Kind, d.ID))
	}
	return out
}

// A singleton that the mirror does not have is missing, for verify and for a sweep
// alike, unless nothing had to bring it yet.
func TestWhenASingletonIsDue(t *testing.T) {
	t.Parallel()
	const sweepEvery = 15 * time.Minute
	held := heldFor(time.Second) // the balance is refreshed every second
	for name, tc := range map[string]struct {
		unswept bool
		// age is how long ago the customer was synced, named how long ago an event named
		// it; 0: none did.
		age, named time.Duration
		due        bool
	}{
		"no sweep was finished":                         {unswept: true, age: time.Hour},
		"its parent is young":                           {age: time.Minute},
		"its parent came between two sweeps":            {age: 2 * sweepEvery},
		"its parent is old":                             {age: 2*sweepEvery + held + time.Second, due: true},
		"its parent is old, and was synced":             {named: time.Hour, due: true},
		"its parent was synced and named, and is young": {named: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.finder.settings.Sweep.Every = sweepEvery
			c.shop.stock(1, 0)
			c.fill()
			if tc.unswept {
				c.loseTasks()
			}
			c.lose("balance", "")
			now := c.clock.now()
			if tc.named > 0 {
				c.received("evt_1", "customer.made", now.Add(-tc.named), now, "customer", "c0")
			}
			c.clock.move(tc.age)
			r := c.verify()
			s := c.survey(modeSweep, func(s *survey) {
				if tc.unswept {
					s.fill = c.finder.kinds()
				}
			})
			if !tc.due {
				require.Empty(t, r.Differences)
				require.EqualValues(t, 1, r.NotDue)
				require.True(t, r.InSync())
				require.Empty(t, c.recorded())
				require.EqualValues(t, 1, s.counts["signals"], "a sweep has it fetched")
				return
			}
			require.Equal(t, []string{"missing balance/c0"}, r.different())
			require.Zero(t, r.NotDue)
			require.Equal(t, []string{"missing balance/c0"}, c.recorded())
			require.Equal(t, []string{"discrepancy balance/c0"}, signalled(c.work()))
			require.True(t, c.verify().InSync(), "repaired")
		})
	}
}

// A worker asks for an entity that is due and cannot be fetched. Its attempt leaves a
// document, so later sweeps leave the entity alone.
func TestASingletonThatCannotBeHad(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 0)
	c.fill()
	c.lose("balance", "")
	c.clock.move(time.Hour)
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/customers/c0/balance" {
			return false
		}
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = io.WriteString(w, `{"message":"no"}`)
		return true
	})
	c.survey(modeSweep)
	require.Empty(t, c.recorded())
	require.Equal(t, []string{"sweep balance/c0"}, signalled(c.entries()))
	require.False(t, c.verify().InSync())
}

// loseTasks makes the kinds unswept again.
func (c *scene) loseTasks() {
	c.t.Helper()
	c.exec("DELETE FROM tasks")
}

// An account is busy when events ask for a refresh all the time. Those of the last
// moment explain nothing if no refresh followed the earlier ones.
func TestABusyAccountIsNoExcuse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		// synced is how long before the finding the balance was; 0: it was lost.
		synced time.Duration
		events []time.Duration // before the finding
		held   bool
	}{
		"one event, just now":               {time.Hour, []time.Duration{time.Second}, true},
		"busy, and refreshed in between":    {20 * time.Second, []time.Duration{time.Second, 10 * time.Second, 40 * time.Second}, true},
		"busy, and not refreshed":           {time.Hour, []time.Duration{time.Second, 10 * time.Second, 40 * time.Second}, false},
		"busy, and lost":                    {0, []time.Duration{time.Second, 40 * time.Second}, false},
		"one event just now, and lost":      {0, []time.Duration{time.Second}, true},
		"one event that should be followed": {time.Hour, []time.Duration{40 * time.Second}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(1, 1)
			c.fill()
			balance := event.Ref{Key: c.key("balance", "c0"), Parents: map[string]string{}}
			c.clock.move(time.Hour - tc.synced)
			if tc.synced > 0 {
				c.sync(balance)
			} else {
				c.lose("balance", "")
			}
			c.clock.move(tc.synced)
			now := c.clock.now()
			for i, ago := range tc.events {
				c.received(fmt.Sprintf("evt_%d", i), "order.made", now.Add(-ago), now, "customer", "c0", "order", "o0_0")
			}
			c.shop.mu.Lock()
			c.shop.state["/customers/c0/balance"] = `{"amount":5}`
			c.shop.mu.Unlock()
			r := c.verify()
			if tc.held {
				require.Empty(t, r.Differences)
				require.EqualValues(t, 1, r.NotDue)
			} else {
				require.Len(t, r.Differences, 1)
				require.Zero(t, r.NotDue)
			}

			c.finder.settings.Kinds["balance"] = config.ReconcileKind{VerifyEvery: time.Millisecond}
			c.survey(modeSweep)
			want := storage.Confirmed
			if tc.held {
				want = storage.Dropped
			}
			require.Equal(t, want, c.judged(), "the judge of sweeps has the same rule")
		})
	}
}

// Verify waits for a pause that ends by itself, in bounds, and for none made by hand.
func TestVerifyOfAPausedSource(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		pause condition.Pause
		cut   string // "": it waits until the pause has ended
	}{
		"throttled for a moment":      {condition.Pause{Kind: condition.PausedThrottled, For: 30 * time.Millisecond, Reason: "throttled: 429"}, ""},
		"throttled for long":          {condition.Pause{Kind: condition.PausedThrottled, For: time.Hour, Reason: "throttled: 429"}, "source shop has been paused for more than 1s (throttled: 429)"},
		"down":                        {condition.Pause{Kind: condition.PausedDown, For: time.Hour, Reason: "source is down"}, "source shop has been paused for more than 1s (source is down)"},
		"by hand":                     {condition.Pause{Kind: condition.PausedByHand, Reason: "maintenance"}, "source shop is paused by hand, by ops (maintenance): resume it first"},
		"by hand, until a given time": {condition.Pause{Kind: condition.PausedByHand, For: time.Hour, Reason: "maintenance"}, "source shop is paused by hand, by ops (maintenance): resume it first"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newScene(t)
			c.shop.stock(1, 3)
			c.fill()
			c.shop.interfere(func(_ http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/customers/c0/orders" && r.URL.Query().Get("cursor") == "" {
					require.NoError(t, c.streams.PauseAs(c.ctx, "shop", tc.pause, "ops")) // in the middle
				}
				return false
			})
			patience := time.Second
			if tc.cut == "" {
				patience = time.Minute
			}
			r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond, Patience: patience})
			require.NoError(t, err)
			require.Equal(t, tc.cut, r.CutOff)
			require.Equal(t, tc.cut == "", r.InSync())
			if tc.cut != "" {
				require.EqualValues(t, 1+2, r.Entities, "the customer and the first page of its orders")
				require.Equal(t, []string{"balance", "customer", "note", "order"}, r.NotCompared)
			}
		})
	}
}
