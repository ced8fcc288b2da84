package reconciler

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/erased"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// eraseJob runs a job on the entity and all that is under it, and returns what became of it.
func (c *scene) eraseJob(id, kind string, ref event.Ref) *storage.Task {
	c.t.Helper()
	c.startEraseJob(id, kind, ref)
	c.eventually("the job is over", func() bool { return c.task(id).Status.Final() })
	return c.task(id)
}

func (c *scene) startEraseJob(id, kind string, ref event.Ref) {
	c.t.Helper()
	text, err := json.Marshal(storage.ErasureSpec{Entity: ref, Below: true})
	require.NoError(c.t, err)
	c.clock.move(time.Second)
	c.create(&storage.Task{ID: id, Kind: kind, Source: "shop", By: "ops", Spec: text})
}

// An account is erased with all that is under it, and nothing else is. Sweeps, backfills
// and verifications then ask for none of it and find no difference; restoring brings it back.
func TestAnAccountIsErasedWithWhatIsUnderIt(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(2, 3)
	c.fill()
	m := c.member("a")
	m.pace.secondLook = 10 * time.Millisecond
	c.start(m.Run)
	c.entries()
	c.finder.erased = erased.NewWatch(c.store)
	root := event.Ref{Key: c.key("customer", "c0")}

	done := c.eraseJob("job_1", kindErase, root)
	require.Equal(t, storage.TaskDone, done.Status, done.Error)
	require.EqualValues(t, done.Counts["total"], done.Counts["done"])
	for _, id := range []string{"o0_0", "o0_1", "o0_2"} {
		doc, err := c.store.Entity(c.ctx, c.key("order", id))
		require.NoError(t, err)
		require.NotNil(t, doc.Erased, id)
		require.Equal(t, root.Key, doc.Erased.With)
	}
	balance, err := c.store.Entity(c.ctx, c.key("balance", "c0"))
	require.NoError(t, err)
	require.NotNil(t, balance.Erased, "a singleton of it is under it")
	for _, doc := range c.documents() {
		require.NotContains(t, []string{"c0", "o0_0", "o0_1", "o0_2"}, doc.Key.ID)
	}

	c.shop.put("/customers/c0/orders/new", shopOrder("new", 1, "created")) // silently
	c.shop.put("/customers/c0/orders/o0_1", shopOrder("o0_1", 7, "created", "made"))
	require.NoError(t, c.finder.erased.Refresh(c.ctx))
	c.shop.calls()
	for _, mode := range []mode{modeSweep, modeBackfill, modeVerify} {
		c.survey(mode)
		require.Empty(t, c.recorded(), mode)
		require.Empty(t, c.entries(), mode)
	}
	for _, call := range c.shop.calls() {
		require.NotContains(t, call, "c0", "nothing is asked under it")
	}

	restored := c.eraseJob("job_2", kindRestore, root)
	require.Equal(t, storage.TaskDone, restored.Status, restored.Error)
	require.EqualValues(t, done.Counts["done"], restored.Counts["done"])
	require.NoError(t, c.finder.erased.Refresh(c.ctx))
	c.work()
	doc, err := c.store.Entity(c.ctx, c.key("order", "o0_1"))
	require.NoError(t, err)
	require.NotNil(t, doc.Raw, "it comes back")
}

// A replica dies while it erases an account, and another goes on near where it was. One
// that restores dies between removing a marker and appending the sync: none is left out.
func TestAnErasingReplicaDiesInTheMiddle(t *testing.T) {
	t.Parallel()
	const orders, all = erasePage + 20, erasePage + 22 // and the customer, and its balance
	c := newScene(t)
	c.shop.stock(1, orders)
	c.fill()
	c.entries()
	a, b := c.member("a"), c.member("b")
	root := event.Ref{Key: c.key("customer", "c0")}
	dying := func(m *member, hook *func(int), at int) {
		ctx, die := context.WithCancel(c.ctx)
		died := make(chan struct{})
		c.store.mu.Lock()
		*hook = func(n int) {
			if n == at {
				die()
				_ = m.streams.Close() // it appends nothing more
				close(died)
			}
		}
		c.store.mu.Unlock()
		stop := c.start(func(context.Context) { m.Run(ctx) })
		<-died
		stop()
	}
	a.pace.secondLook, b.pace.secondLook = 10*time.Millisecond, 10*time.Millisecond

	c.startEraseJob("job_1", kindErase, root)
	dying(a, &c.store.erased, erasePage+10)
	require.Equal(t, storage.TaskRunning, c.task("job_1").Status)
	stop := c.start(b.Run)
	c.eventually("the other has finished", func() bool { return c.task("job_1").Status.Final() })
	stop()
	require.Equal(t, storage.TaskDone, c.task("job_1").Status, c.task("job_1").Error)
	require.Empty(t, c.documents(), "all is erased")
	require.LessOrEqual(t, len(c.store.markers), 2*all+erasePage, "it went on near where it was")
	require.GreaterOrEqual(t, len(c.store.markers), 2*all, "and looked twice")

	c.entries()
	c.startEraseJob("job_2", kindRestore, root)
	dying(c.member("d"), &c.store.unerased, 5)
	c.start(c.member("e").Run)
	c.eventually("the other has finished", func() bool { return c.task("job_2").Status.Final() })
	require.Equal(t, storage.TaskDone, c.task("job_2").Status, c.task("job_2").Error)
	appended := map[string]bool{}
	for _, e := range c.entries() {
		appended[e.Signal.Ref.Key.String()] = true
	}
	for i := range orders {
		require.True(t, appended[c.key("order", fmt.Sprintf("o0_%d", i)).String()], "order %d is not fetched", i)
	}
	require.Len(t, appended, all)
}

// The age of an erased entity, of which nothing is fetched, raises no alert.
func TestWhatIsErasedIsNotStale(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	c.fill()
	m := c.member("a")
	c.clock.move(time.Hour)
	measure := func() float64 {
		require.NoError(t, m.measure(c.ctx, m.finder(m.source("shop"), nil)))
		return m.metric("tarn_staleness_seconds")
	}
	require.Greater(t, measure(), 3000.)
	for _, ref := range []event.Ref{
		{Key: c.key("customer", "c0")}, {Key: c.key("order", "o0_0"), Parents: map[string]string{"customer": "c0"}}, {Key: c.key("balance", "c0")},
	} {
		_, err := c.store.Erase(c.ctx, ref, storage.Marker{At: c.clock.now(), By: "ops"})
		require.NoError(t, err)
	}
	require.Zero(t, measure())
}
