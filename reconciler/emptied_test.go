package reconciler

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
)

// another lets the shop answer as another, empty account of it does.
func (s *shop) another() {
	s.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/ping", "/events":
			return false
		case "/customers":
			_, _ = io.WriteString(w, `{"data":[],"next":null}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"message":"no such thing"}`)
		}
		return true
	})
}

// pausedAs waits until the source is paused as a kind, and has been looked at
// again.
func (c *scene) pausedAs(kind condition.PauseKind) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		state, err := c.streams.Source(c.ctx, "shop")
		return err == nil && state.Paused && state.Kind == kind && state.Strikes > 1
	}, time.Minute, 5*time.Millisecond)
}

// A sweep under another account's key finds every root list empty. It waits, and no
// entity is deleted; a mirror with one entity is no exception.
func TestARootListThatWasEmptiedPausesTheSource(t *testing.T) {
	t.Parallel()
	for name, customers := range map[string]int{"one": 1, "five": 5} {
		for _, m := range []mode{modeSweep, modeBackfill} {
			t.Run(name+" "+string(m), func(t *testing.T) {
				c := newScene(t)
				c.shop.stock(customers, 2)
				c.fill()
				c.shop.another()
				c.clock.move(25 * time.Hour) // everything is due
				done := make(chan struct{})
				go func() { defer close(done); c.survey(m) }()
				c.pausedAs(condition.PausedMisconfigured)
				require.Empty(t, c.recorded())
				require.Empty(t, c.entries(), "no worker is asked to delete anything")
				c.shop.interfere(nil) // the right key
				<-done
				require.Empty(t, c.recorded())
			})
		}
	}
}

// All were really deleted: an operator says so, and the mirror follows.
func TestDeletionOfAllIsAccepted(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.fill()
	c.shop.drop("/customers/c0")
	done := make(chan struct{})
	go func() { defer close(done); c.survey(modeSweep) }()
	c.pausedAs(condition.PausedMisconfigured)
	require.Empty(t, c.recorded())
	require.NoError(t, c.streams.ResumeAccepting(c.ctx, "shop", "ops"))
	<-done
	require.Equal(t, []string{"deleted customer/c0", "deleted order/o0_0"}, c.recorded())
}

// One list that is answered 429 is given up for this sweep; the source is not
// paused for it, whatever its Retry-After.
func TestOneThrottledListPausesNoSource(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(2, 2)
	c.fill()
	for _, after := range []string{"", "3600"} {
		c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/customers/c0/orders" {
				return false
			}
			if after != "" {
				w.Header().Set("Retry-After", after)
			}
			w.WriteHeader(http.StatusTooManyRequests)
			return true
		})
		s := c.survey(modeSweep)
		require.EqualValues(t, 1, s.counts["failed_lists"])
		state, err := c.streams.Source(c.ctx, "shop")
		require.NoError(t, err)
		require.False(t, state.Paused)
	}
}

// Reconciler and worker classify a failed probe in the same way, so a source that
// throttles the fleet raises no alert.
func TestAThrottledProbeIsNoAlarm(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.shop.interfere(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	done := make(chan struct{})
	go func() { defer close(done); c.survey(modeBackfill) }()
	c.pausedAs(condition.PausedThrottled)
	state, err := c.streams.Source(c.ctx, "shop")
	require.NoError(t, err)
	require.False(t, state.Kind.WantsAHuman())
	require.Contains(t, state.Reason, "throttled: ")
	c.shop.interfere(nil)
	<-done
}

// Elements seen before a list began again do not prove that an empty list is right.
func TestAListThatIsBegunAgainEmptyIsNotBelieved(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(5, 1)
	c.fill()
	c.shop.another()
	empty := c.shop.answer
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/customers" && r.URL.Query().Get("cursor") != "" {
			w.WriteHeader(http.StatusBadRequest)
			return true
		}
		return empty(w, r)
	})
	s := &survey{finder: c.finder, mode: modeSweep, id: "x", begun: c.clock.now(), counts: map[string]int64{}, failed: map[string]bool{}}
	done, shown := make(chan error, 1), 0
	go func() {
		done <- s.listRoot(c.ctx, c.def.Kind("customer"), &place{Cursor: "2,", Pages: 1}, func(ids ...string) { shown += len(ids) })
	}()
	c.pausedAs(condition.PausedMisconfigured)
	c.shop.interfere(nil)
	require.NoError(t, <-done)
	require.Equal(t, 5, shown)
}
