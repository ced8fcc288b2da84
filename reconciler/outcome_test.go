package reconciler

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// refuse answers requests that match with a status, in the shop's own shape.
func (s *shop) refuse(status int, match func(*http.Request) bool) {
	s.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if !match(r) {
			return false
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"message":"no"}`)
		return true
	})
}

// outcome is what a task's sweep did not get.
func outcome(t *testing.T, task *storage.Task) storage.SweepOutcome {
	t.Helper()
	out, err := decodeState[storage.SweepOutcome](task.State)
	require.NoError(t, err)
	return out
}

// A list of which a page is refused for good is named, in every mode, and so is
// one with an element that cannot be read. The sweep has failed; all else is done.
func TestASweepNamesTheListsItCouldNotRead(t *testing.T) {
	t.Parallel()
	second := func(path string) func(*http.Request) bool {
		return func(r *http.Request) bool { return r.URL.Path == path && r.URL.Query().Get("cursor") != "" }
	}
	cases := map[string]struct {
		status int
		match  func(*http.Request) bool
		lists  []storage.FailedList
	}{
		"a list under nothing": {422, second("/customers"),
			[]storage.FailedList{{Kind: "customer", Error: "page 2: ", Times: 1}}},
		"a list under a customer": {422, second("/customers/c1/orders"),
			[]storage.FailedList{{Kind: "order", Parents: map[string]string{"customer": "c1"}, Error: "page 2: ", Times: 1}}},
		"a first page": {404, func(r *http.Request) bool { return r.URL.Path == "/customers/c0/orders" },
			[]storage.FailedList{{Kind: "order", Parents: map[string]string{"customer": "c0"}, Error: "page 1: ", Times: 1}}},
	}
	for name, tc := range cases {
		for _, m := range []mode{modeSweep, modeBackfill, modeVerify} {
			t.Run(name+", "+string(m), func(t *testing.T) {
				c := newScene(t)
				counted := &member{registry: prometheus.NewRegistry()}
				c.finder.metrics = telemetry.NewMetrics(counted.registry)
				c.shop.stock(3, 3)
				c.fill()
				c.shop.refuse(tc.status, tc.match)
				task := c.sweepBy(m, storage.SweepSpec{}, c.replica("a"))
				require.Equal(t, storage.TaskFailed, task.Status)
				require.Contains(t, task.Error, "1 lists could not be read whole: "+tc.lists[0].Kind)
				require.Contains(t, task.Error, tc.lists[0].Error)
				lists := outcome(t, task).FailedLists
				require.Len(t, lists, 1)
				require.Contains(t, lists[0].Error, tc.lists[0].Error)
				lists[0].Error = tc.lists[0].Error
				require.Equal(t, tc.lists, lists)
				require.EqualValues(t, 1, task.Counts["failed_lists"])
				require.InDelta(t, 1, counted.metric("tarn_lists_failed_total"), 0)
				require.LessOrEqual(t, len(c.shop.calls()), 100, "what is refused for good is not asked for without end")
				require.Empty(t, c.recorded())
			})
		}
	}
	t.Run("an element that cannot be read", func(t *testing.T) {
		c := newScene(t)
		c.shop.stock(1, 1)
		c.fill()
		c.shop.put("/customers/c0/orders/odd", `{"amount":1}`)
		task := c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
		require.Equal(t, storage.TaskFailed, task.Status)
		require.Contains(t, task.Error, "elements that cannot be read")
		require.Len(t, outcome(t, task).FailedLists, 1)
		c.shop.drop("/customers/c0/orders/odd")
		require.Equal(t, storage.TaskDone, c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a")).Status)
	})
}

// A list that fails twice in a row raises an alert, and then after four times, and so on.
func TestAListThatFailsAgainAlerts(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(2, 1)
	c.fill()
	var alerts []alert.Alert
	c.finder.alert = func(a alert.Alert) { alerts = append(alerts, a) }
	broken := func(r *http.Request) bool { return r.URL.Path == "/customers/c1/orders" }
	for n, wanted := range []int{0, 1, 1, 2} {
		c.shop.refuse(422, broken)
		task := c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
		require.Equal(t, n+1, outcome(t, task).FailedLists[0].Times)
		require.Len(t, alerts, wanted, "after %d sweeps", n+1)
		// A sweep of other kinds says nothing about it.
		require.Equal(t, storage.TaskDone, c.sweepBy(modeSweep, storage.SweepSpec{Kinds: []string{"customer"}}, c.replica("a")).Status)
	}
	require.Equal(t, alert.ListFails, alerts[0].Kind)
	require.Equal(t, "shop", alerts[0].Source)
	require.Contains(t, alerts[0].Reason, "order of customer c1")
	require.Contains(t, alerts[0].Reason, "2 times in a row")
	c.shop.interfere(nil)
	c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
	c.shop.refuse(422, broken)
	task := c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
	require.Equal(t, 1, outcome(t, task).FailedLists[0].Times, "it was read in between")
}

// expiring has cursors of a list expire when it is told to: they are refused with
// a status from then on, until the list is begun again.
func (s *shop) expiring(path string, status int, more func(*http.Request)) (expire func()) {
	var mu sync.Mutex
	expired := false
	s.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		more(r)
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path != path {
			return false
		}
		if r.URL.Query().Get("cursor") == "" {
			expired = false
		}
		if expired {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, `{"message":"the cursor has expired"}`)
		}
		return expired
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		expired = true
	}
}

// A backfill that is cut off and resumed after its cursor has expired gets everything,
// counts it once, and repeats only the calls it must.
func TestABackfillOutlivesItsCursors(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusBadRequest, http.StatusGone, http.StatusUnprocessableEntity, http.StatusForbidden} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(60, 1)
			stop := c.workUntil()
			ctx, cut := context.WithCancel(c.ctx)
			pages := 0
			expire := c.shop.expiring("/customers", status, func(r *http.Request) {
				if r.URL.Path == "/customers" {
					if pages++; pages == 11 {
						cut()
					}
				}
			})
			var out bytes.Buffer
			o := BackfillOptions{Source: "shop", Out: &out, Every: 10 * time.Millisecond}
			require.ErrorIs(t, c.reconciler("a").Backfill(ctx, o), ErrCutOff)
			expire()
			out.Reset()
			c.shop.calls()
			require.NoError(t, c.reconciler("b").Backfill(c.ctx, o))
			stop()
			walked := map[string]int{}
			for _, path := range lists(c.shop.calls()) {
				walked[path]++
			}
			for path, n := range walked {
				require.LessOrEqual(t, n, 32, "%s is begun again once", path)
				if strings.HasSuffix(path, "/orders") {
					require.Equal(t, 1, n, "%s is under a customer that was listed twice, and is walked once", path)
				}
			}
			require.Len(t, c.documents(), 60+60+60)
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			var last progress
			require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
			require.Equal(t, "done", last.Phase)
			require.EqualValues(t, 1, last.Share)
			require.Equal(t, map[string]int64{"customer": 60, "order": 60}, last.Kinds)
		})
	}
}

// A backfill that could not read a list says so in what it shows and by its error.
func TestABackfillThatLostAListFails(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(6, 1)
	defer c.workUntil()()
	c.shop.refuse(422, func(r *http.Request) bool {
		return r.URL.Path == "/customers" && strings.HasPrefix(r.URL.Query().Get("cursor"), "2")
	})
	var out bytes.Buffer
	err := c.reconciler("a").Backfill(c.ctx, BackfillOptions{Source: "shop", Out: &out, Every: 10 * time.Millisecond})
	require.ErrorContains(t, err, "is failed: 1 lists could not be read whole: customer (page 2: ")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last progress
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	require.Equal(t, "failed", last.Phase)
	require.Zero(t, last.Share, "of what is not known whole no share is known")
	require.EqualValues(t, 1, last.FailedListCount)
	require.Equal(t, "customer", last.FailedLists[0].Kind)
}

// The list of events is begun again too, and not for ever.
func TestABackfillSinceOutlivesItsCursor(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 5)
	stop := c.workUntil()
	now := c.clock.now()
	for i := range 5 {
		id := string(rune('0' + i))
		c.shop.happen("e"+id, "order.made", now.Add(-time.Hour), "customer", "c0", "order", "o0_"+id)
	}
	refused := 0
	c.shop.refuse(400, func(r *http.Request) bool {
		if r.URL.Path == "/events" && r.URL.Query().Get("cursor") != "" && refused == 0 {
			refused++
			return true
		}
		return false
	})
	spec := storage.SweepSpec{Since: now.Add(-24 * time.Hour)}
	task := c.sweepBy(modeBackfill, spec, c.replica("a"))
	require.Equal(t, storage.TaskDone, task.Status, task.Error)
	require.Equal(t, 1, refused)
	stop()
	for i := range 5 {
		doc, err := c.store.Entity(c.ctx, c.key("order", "o0_"+string(rune('0'+i))))
		require.NoError(t, err)
		require.True(t, doc.Known())
	}
	c.shop.calls()
	c.shop.refuse(400, func(r *http.Request) bool { return r.URL.Path == "/events" && r.URL.Query().Get("cursor") != "" })
	task = c.sweepBy(modeBackfill, spec, c.replica("a"))
	require.Equal(t, storage.TaskFailed, task.Status)
	require.Contains(t, task.Error, "1 partitions failed")
	require.LessOrEqual(t, len(c.shop.calls()), 10)
}

// An entity that the provider does not answer for is named, with its reason. A verification
// has failed then, since it cannot say that the mirror is right; a sweep is done, says so in
// its error, and the next one asks again.
func TestEntitiesThatCouldNotBeCheckedAreNamed(t *testing.T) {
	t.Parallel()
	for m, status := range map[mode]storage.TaskStatus{modeSweep: storage.TaskDone, modeVerify: storage.TaskFailed} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			c := newScene(t)
			c.shop.stock(1, 1)
			c.shop.put("/customers/c0/notes/n1", `{"id":"n1"}`)
			c.fill()
			c.sync(event.Ref{Key: c.key("note", "n1"), Parents: map[string]string{"customer": "c0"}})
			require.Equal(t, storage.TaskDone, c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a")).Status, "nothing is filled any more")
			c.clock.move(25 * time.Hour)
			c.shop.refuse(http.StatusInternalServerError, func(r *http.Request) bool { return r.URL.Path == "/customers/c0/notes/n1" })
			task := c.sweepBy(m, storage.SweepSpec{}, c.replica("a"))
			require.Equal(t, status, task.Status, task.Error)
			require.EqualValues(t, 1, task.Counts["failed_checks"])
			require.Zero(t, task.Counts["found"])
			require.Contains(t, task.Error, "1 entity could not be checked: note/n1 (")
			require.Contains(t, task.Error, "HTTP 500")
			named := outcome(t, task).Unchecked
			require.Len(t, named, 1)
			require.Contains(t, named[0].Reason, "HTTP 500")
			named[0].Reason = ""
			require.Equal(t, storage.Unchecked{Kind: "note", ID: "n1", Parents: map[string]string{"customer": "c0"}}, named[0])

			c.shop.interfere(nil)
			task = c.sweepBy(m, storage.SweepSpec{}, c.replica("a"))
			require.Equal(t, storage.TaskDone, task.Status, task.Error)
			require.Empty(t, task.Error)
			require.Empty(t, outcome(t, task).Unchecked)

			// One that differs in a list, and is asked for again since it is due, is one.
			c.clock.move(25 * time.Hour)
			const changed = "/customers/c0/orders/o0_0"
			c.shop.put(changed, shopOrder("o0_0", 9, "created", "made"))
			c.shop.refuse(http.StatusInternalServerError, func(r *http.Request) bool { return r.URL.Path == changed })
			task = c.sweepBy(m, storage.SweepSpec{}, c.replica("a"))
			require.EqualValues(t, 1, task.Counts["failed_checks"])
			require.Len(t, outcome(t, task).Unchecked, 1)
			require.Contains(t, task.Error, "1 entity could not be checked: order/o0_0 (")
		})
	}
}
