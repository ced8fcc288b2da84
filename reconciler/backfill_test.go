package reconciler

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// reconciler makes a whole replica of the scene.
func (c *scene) reconciler(id string) *Reconciler {
	c.t.Helper()
	r, err := New(Options{
		ID: id, Streams: c.streams, Store: c.store, Poll: 20 * time.Millisecond,
		Sources: []Source{{Name: c.finder.name, Definition: c.def, Client: c.client, Settings: c.finder.settings, Rate: stream.Rate{}}},
		Metrics: telemetry.NewMetrics(prometheus.NewRegistry()), Health: telemetry.NewHealth(nil),
		Logger: slog.New(slog.DiscardHandler), Now: c.clock.now,
	})
	require.NoError(c.t, err)
	r.pace = c.finder.pace
	return r
}

// workUntil plays the worker until stop.
func (c *scene) workUntil() (stop func()) { return c.each(func() { c.work() }) }

// workUntilBut plays a worker that never gets one entity.
func (c *scene) workUntilBut(id string) (stop func()) {
	return c.each(func() {
		c.working.Lock()
		defer c.working.Unlock()
		for _, e := range c.entries() {
			if e.Signal.Ref.Key.ID != id {
				c.sync(e.Signal.Ref)
			}
		}
	})
}

// each does something again and again until stop.
func (c *scene) each(do func()) (stop func()) {
	ctx, cancel := context.WithCancel(c.ctx)
	var worker sync.WaitGroup
	worker.Go(func() {
		for ctx.Err() == nil {
			do()
			loops.Sleep(ctx, 5*time.Millisecond)
		}
	})
	return func() { cancel(); worker.Wait() }
}

func TestABackfillThatIsCutOffGoesOn(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(40, 3)
	stop := c.workUntil()
	defer stop()
	ctx, cut := context.WithCancel(c.ctx)
	asked := 0
	c.shop.interfere(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/orders") {
			if asked++; asked == 30 {
				cut()
			}
		}
		return false
	})
	var out bytes.Buffer
	o := BackfillOptions{Source: "shop", Kinds: []string{"order", "customer"}, Out: &out, Every: 10 * time.Millisecond}
	require.ErrorIs(t, c.reconciler("a").Backfill(ctx, o), ErrCutOff)
	c.shop.interfere(nil)
	first := len(lists(c.shop.calls()))
	require.Less(t, first, 20+40, "it was cut off before the end")

	out.Reset()
	o.Kinds = []string{"customer", "order"} // in whatever order
	require.NoError(t, c.reconciler("b").Backfill(c.ctx, o))
	require.Less(t, first+len(lists(c.shop.calls())), 20+40*2+20, "it did not start over")
	page, err := c.store.Tasks(c.ctx, storage.TaskFilter{Kinds: []string{"backfill"}})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	require.Equal(t, storage.TaskDone, page.Items[0].Status)
	stop()
	for _, d := range c.differences() {
		require.Contains(t, d, "missing balance/", "only what was not asked for")
	}

	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last progress
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &last))
	require.Equal(t, "done", last.Phase)
	require.EqualValues(t, 1, last.Share)
	require.Equal(t, map[string]int64{"customer": 40, "order": 120}, last.Kinds)
	require.EqualValues(t, 160, last.Asked)
	require.Zero(t, last.Waiting)

	require.NoError(t, c.reconciler("c").Backfill(c.ctx, o))
	page, err = c.store.Tasks(c.ctx, storage.TaskFilter{Kinds: []string{"backfill"}})
	require.NoError(t, err)
	require.Len(t, page.Items, 2, "one that is done is not gone on with")
}

// lists are the requests for lists.
func lists(paths []string) (out []string) {
	for _, p := range paths {
		if p == "/customers" || strings.HasSuffix(p, "/orders") {
			out = append(out, p)
		}
	}
	return out
}

func TestBackfillsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := c.reconciler("a")
	require.ErrorContains(t, r.Backfill(c.ctx, BackfillOptions{Source: "elsewhere"}), `"elsewhere"`)
	require.ErrorContains(t, r.Backfill(c.ctx, BackfillOptions{Source: "shop", Kinds: []string{"moon"}}), `"moon"`)
	_, err := r.VerifyOnce(c.ctx, "elsewhere", VerifyOptions{})
	require.ErrorContains(t, err, `"elsewhere"`)
}

// One that an operator cancels ends, and says so.
func TestABackfillThatIsCancelled(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(20, 3)
	require.NoError(t, c.streams.Pause(c.ctx, "shop", 0, "maintenance", "ops"))
	done := make(chan error, 1)
	go func() {
		done <- c.reconciler("a").Backfill(c.ctx, BackfillOptions{Source: "shop", Every: 10 * time.Millisecond})
	}()
	require.Eventually(t, func() bool {
		page, err := c.store.Tasks(c.ctx, storage.TaskFilter{Kinds: []string{"backfill"}, Statuses: []storage.TaskStatus{storage.TaskRunning}})
		if err != nil || len(page.Items) == 0 {
			return false
		}
		ok, err := c.store.CancelTask(c.ctx, page.Items[0].ID)
		return err == nil && ok
	}, time.Minute, 5*time.Millisecond)
	select {
	case err := <-done:
		require.ErrorContains(t, err, "is cancelled")
	case <-time.After(time.Minute):
		t.Fatal("it goes on")
	}
	require.NoError(t, c.streams.Resume(c.ctx, "shop"))
}

// While a source is paused no worker fetches, and a backfill waits, however long.
func TestABackfillWaitsForAPause(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	task := sweepTask("backfill_1", modeBackfill, "shop", "test", storage.SweepSpec{}, c.clock.now())
	s, err := newSweep(c.finder, task, func(context.Context) error { return nil })
	require.NoError(t, err)
	ref := event.Ref{Key: c.key("customer", "c0")}
	_, err = c.streams.Append(c.ctx, stream.Draft{Signal: event.Signal{Ref: ref, Cause: event.CauseSweep, CauseID: "backfill_1", Class: event.Backfill}})
	require.NoError(t, err)
	c.eventually("the signal is older than the look at it", func() bool {
		_, age, err := c.finder.background(c.ctx)
		return err == nil && age > 5*time.Millisecond
	})
	stalls := func() bool {
		s.state.BacklogSince = c.clock.now().Add(-s.pace.stalled)
		done, err := s.filled(c.ctx)
		require.NoError(t, err)
		return !done
	}
	require.NoError(t, c.streams.Pause(c.ctx, "shop", 0, "maintenance", "ops"))
	for range 4 {
		require.True(t, stalls())
	}
	require.NoError(t, c.streams.Resume(c.ctx, "shop"))
	require.False(t, stalls(), "no worker runs")
	require.Contains(t, s.state.Stalled, "1 signals still wait")
}

// The clock of Redis alone decides whether queued signals are as old as a backfill, so
// a replica with another clock can continue it.
func TestABackfillIsFilledByOneClock(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	task := sweepTask("backfill_1", modeBackfill, "shop", "test", storage.SweepSpec{}, c.clock.now())
	s, err := newSweep(c.finder, task, func(context.Context) error { return nil })
	require.NoError(t, err)
	ref := event.Ref{Key: c.key("customer", "c0")}
	_, err = c.streams.Append(c.ctx, stream.Draft{Signal: event.Signal{Ref: ref, Cause: event.CauseSweep, CauseID: "backfill_1", Class: event.Backfill}})
	require.NoError(t, err)
	c.eventually("the signal is older than the look at it", func() bool {
		_, age, err := c.finder.background(c.ctx)
		return err == nil && age > 5*time.Millisecond
	})
	for _, off := range []time.Duration{0, time.Hour, -2 * time.Hour} {
		c.clock.move(off)
		done, err := s.filled(c.ctx)
		require.NoError(t, err)
		require.False(t, done, "its signal waits")
	}
	c.entries()
	done, err := s.filled(c.ctx)
	require.NoError(t, err)
	require.True(t, done)
}

// Two whole replicas, one of which is killed again and again in the middle of a
// sweep that finds much.
func TestReplicasThatComeAndGo(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(30, 3)
	c.fill()
	for i := range 30 {
		id := fmt.Sprintf("o%d_%d", i, i%3)
		c.shop.put(fmt.Sprintf("/customers/c%d/orders/%s", i, id), shopOrder(id, 9, "created", "made"))
	}
	stop := c.workUntil()
	defer stop()
	steady, end := context.WithCancel(c.ctx)
	var all sync.WaitGroup
	all.Go(func() { c.reconciler("steady").Run(steady) })
	all.Go(func() {
		for n := 0; steady.Err() == nil; n++ {
			life, die := context.WithTimeout(steady, 60*time.Millisecond)
			c.reconciler(fmt.Sprintf("life %d", n)).Run(life)
			die()
		}
	})
	id := "sweep_coming_and_going"
	require.NoError(t, c.store.CreateTasks(c.ctx, []*storage.Task{sweepTask(id, modeSweep, "shop", "test", storage.SweepSpec{}, c.clock.now())}))
	task := c.over(id)
	end()
	all.Wait()
	stop()
	c.work() // what was signalled last
	require.Equal(t, storage.TaskDone, task.Status, task.Error)
	require.Len(t, c.recorded(), 30)
	require.Empty(t, c.differences())
}
