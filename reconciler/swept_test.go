package reconciler

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Workers that start a second before the first sweep change nothing about it: what was
// there before the mirror was not missed, in a scheduled sweep and in a requested one.
func TestTheFirstSweepRecordsNothing(t *testing.T) {
	t.Parallel()
	for _, m := range []mode{modeSweep, modeBackfill} {
		t.Run(string(m), func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(2, 2)
			c.sync(event.Ref{Key: c.key("order", "o0_0"), Parents: map[string]string{"customer": "c0"}})
			c.shop.put("/customers/c0/orders/o0_0", shopOrder("o0_0", 2, "created"))
			stop := c.workUntil()
			task := c.sweepBy(m, storage.SweepSpec{}, c.replica("a"))
			stop()
			c.work()
			require.Equal(t, storage.TaskDone, task.Status, task.Error)
			require.Empty(t, c.recorded())
			require.Zero(t, task.Counts["found"])
			require.Empty(t, c.differences(), "it is filled")

			c.shop.put("/customers/c0/orders/o0_1", shopOrder("o0_1", 3, "created"))
			c.shop.put("/customers/c1/orders/new", shopOrder("new", 1, "created"))
			c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
			require.Equal(t, []string{"missing order/new", "stale order/o0_1"}, c.recorded(), "the second one tells")
		})
	}
}

// The first sweep of a kind that a new version of the definition has added fills
// that kind, and tells of the others.
func TestAKindThatIsNewIsFilled(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.fill()
	def, err := provider.Parse("shop.yaml", []byte(strings.Replace(shopDefinition, "\nevents:", "\n  "+
		`vault: {get: "/vaults/{vault}", list: /vaults}`+"\nevents:", 1)))
	require.NoError(t, err)
	c.def, c.finder.def = def, def
	c.client, err = provider.NewClient(def, provider.ClientOptions{BaseURL: c.shop.URL, Key: "key", Now: c.clock.now})
	require.NoError(t, err)
	c.finder.api = c.client
	c.shop.put("/vaults/v1", `{"id":"v1"}`)
	c.shop.put("/customers/c0/orders/new", shopOrder("new", 1, "created"))

	// A list that nothing is known of is no sweep of its kind.
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/vaults" {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"message":"no"}`)
		}
		return r.URL.Path == "/vaults"
	})
	c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
	require.Equal(t, []string{"missing order/new"}, c.recorded())
	c.shop.interfere(nil)
	stop := c.workUntil()
	c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
	stop()
	require.Equal(t, []string{"missing order/new"}, c.recorded(), "the vault was there before")
	doc, err := c.store.Entity(c.ctx, c.key("vault", "v1"))
	require.NoError(t, err)
	require.True(t, doc.Known())

	c.shop.put("/vaults/v2", `{"id":"v2"}`)
	c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
	require.Equal(t, []string{"missing order/new", "missing vault/v2"}, c.recorded())
}

// swept are the exceptions of the kinds that have a note.
func (c *scene) swept() map[string][]string {
	c.t.Helper()
	notes, err := c.finder.sweptKinds(c.ctx)
	require.NoError(c.t, err)
	out := map[string][]string{}
	for kind, note := range notes {
		out[kind] = note.except
	}
	return out
}

// What workers have never fetched is not swept: without workers, the sweep after
// the first one fills again and alarms of nothing.
func TestWhatWorkersDidNotFetchIsNotSwept(t *testing.T) {
	t.Parallel()
	for _, m := range []mode{modeSweep, modeBackfill} {
		t.Run(string(m), func(t *testing.T) {
			c := newScene(t)
			c.finder.pace.stalled = 50 * time.Millisecond
			c.shop.stock(2, 2)
			task := c.sweepBy(m, storage.SweepSpec{}, c.replica("a"))
			require.Equal(t, storage.TaskFailed, task.Status)
			require.Contains(t, task.Error, "signals still wait")
			require.Empty(t, c.swept())
			c.finder.pace.stalled = time.Minute
			stop := c.workUntil()
			task = c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
			stop()
			c.work()
			require.Equal(t, storage.TaskDone, task.Status, task.Error)
			require.Empty(t, c.recorded(), "it was there before the mirror")
			require.Empty(t, c.differences())
			require.Len(t, c.swept(), len(c.def.Kinds()))
			c.shop.put("/customers/c1/orders/new", shopOrder("new", 1, "created"))
			c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
			require.Equal(t, []string{"missing order/new"}, c.recorded())
		})
	}
}

// A list that fails in the first sweep hides nothing of the other lists of its
// kind, however long it fails. What it shows in the end was there before the mirror.
func TestAListThatFailsIsAnExceptionOfItsKind(t *testing.T) {
	t.Parallel()
	for _, m := range []mode{modeSweep, modeBackfill} {
		t.Run(string(m), func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(3, 3)
			broken := func(r *http.Request) bool {
				return r.URL.Path == "/customers/c1/orders" && r.URL.Query().Get("cursor") != ""
			}
			sweep := func(m mode) {
				stop := c.workUntil()
				c.sweepBy(m, storage.SweepSpec{}, c.replica("a"))
				stop()
				c.work()
			}
			c.shop.refuse(422, broken)
			sweep(m)
			require.Empty(t, c.recorded())
			require.Equal(t, map[string][]string{"customer": nil, "note": nil, "balance": nil, "order": {"order|c1"}}, c.swept())

			c.shop.put("/customers/c0/orders/new", shopOrder("new", 1, "created"))
			c.shop.put("/customers/c1/orders/o1_0", shopOrder("o1_0", 7, "created"))
			sweep(modeSweep)
			require.Equal(t, []string{"missing order/new"}, c.recorded(), "the others are compared")
			require.Equal(t, []string{"order|c1"}, c.swept()["order"])

			c.shop.refuse(422, func(r *http.Request) bool { return r.URL.Path == "/customers/c0/orders" })
			sweep(modeSweep)
			require.Equal(t, []string{"missing order/new"}, c.recorded(), "o1_2 was there before")
			require.Empty(t, c.swept()["order"], "and what was read whole once is no exception when it fails later")
			c.shop.interfere(nil)
			c.shop.put("/customers/c1/orders/late", shopOrder("late", 1, "created"))
			sweep(modeSweep)
			require.Equal(t, []string{"missing order/late", "missing order/new"}, c.recorded())
		})
	}
}

// An entity that cannot be fetched is an exception too, until it is fetched.
func TestAnEntityThatWasNotHadIsAnExceptionOfItsKind(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 2)
	for _, id := range []string{"o0_0", "o0_1"} {
		_, err := c.store.Claim(c.ctx, event.Ref{Key: c.key("order", id), Parents: under("c0")})
		require.NoError(t, err)
	}
	c.sync(event.Ref{Key: c.key("customer", "c0")})
	refused := func(r *http.Request) bool { return r.URL.Path == "/customers/c0/orders/o0_0" }
	c.shop.refuse(422, refused)
	stop := c.workUntilBut("o0_0")
	task := c.sweepBy(modeBackfill, storage.SweepSpec{}, c.replica("a"))
	require.Equal(t, storage.TaskFailed, task.Status)
	require.Equal(t, []string{"shop/order/o0_0"}, c.swept()["order"])
	c.shop.put("/customers/c0/orders/new", shopOrder("new", 1, "created"))
	task = c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
	require.Equal(t, storage.TaskFailed, task.Status)
	require.Contains(t, task.Error, "order/o0_0")
	require.Equal(t, []string{"missing order/new"}, c.recorded())
	c.shop.interfere(nil)
	stop()
	stop = c.workUntil()
	task = c.sweepBy(modeSweep, storage.SweepSpec{}, c.replica("a"))
	stop()
	require.Equal(t, storage.TaskDone, task.Status, task.Error)
	require.Equal(t, []string{"missing order/new"}, c.recorded())
	require.Empty(t, c.swept()["order"])
}

// A fleet whose earlier version has finished sweeps goes on with sweeps.
func TestWhatAnEarlierVersionSweptIsSwept(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	now := c.clock.now().UTC()
	done := func(id string, m mode, spec storage.SweepSpec, status storage.TaskStatus) *storage.Task {
		task := sweepTask(id, m, "shop", "schedule", spec, now)
		task.Status, task.FinishedAt = status, now
		return task
	}
	part := func(sweep, name string, spec partitionSpec, counts map[string]int64) *storage.Task {
		task := partitionTask(sweep, name, "shop", spec, now)
		task.Status, task.Counts, task.FinishedAt = storage.TaskDone, counts, now
		return task
	}
	unswept := func() []string {
		kinds, err := c.finder.unswept(c.ctx, c.finder.kinds())
		require.NoError(t, err)
		return slices.Sorted(slices.Values(kinds))
	}
	require.NoError(t, c.store.CreateTasks(c.ctx, []*storage.Task{
		done("sweep_failed", modeSweep, storage.SweepSpec{}, storage.TaskFailed),
		part("sweep_failed", "check/note", partitionSpec{Check: "note"}, nil),
		done("backfill_since", modeBackfill, storage.SweepSpec{Since: now}, storage.TaskDone),
		part("backfill_since", "events", partitionSpec{Events: true}, map[string]int64{"kind.note": 4}),
	}))
	require.Equal(t, []string{"balance", "customer", "note", "order"}, unswept(), "neither was a whole one")
	require.NoError(t, c.store.CreateTasks(c.ctx, []*storage.Task{
		done("sweep_done", modeSweep, storage.SweepSpec{}, storage.TaskDone),
		part("sweep_done", "check/order", partitionSpec{Check: "order"}, nil),
		part("sweep_done", "check/balance", partitionSpec{Check: "balance"}, nil),
		done("backfill_done", modeBackfill, storage.SweepSpec{}, storage.TaskDone),
		part("backfill_done", "customer", partitionSpec{Root: "customer"}, map[string]int64{"kind.customer": 4}),
	}))
	require.Equal(t, []string{"note"}, unswept())
	_, err := c.store.ForgetTasks(c.ctx, now.Add(1000*remembered))
	require.NoError(t, err)
	require.Equal(t, []string{"note"}, unswept(), "it is remembered when the tasks are forgotten")
}
