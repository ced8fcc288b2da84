package reconciler

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/storage"
)

// shows reports whether a metric has a series.
func (m *member) shows(name string) bool {
	families, err := m.registry.Gather()
	if err != nil {
		return false
	}
	for _, f := range families {
		if f.GetName() == name {
			return len(f.GetMetric()) > 0
		}
	}
	return false
}

// held answers each message as the next value of the channel says, in the order in which they
// come. arrived has their subjects.
func (r *receiver) held() (arrived chan string, goOn chan int) {
	arrived, goOn = make(chan string, 100), make(chan int)
	r.answers(func(e cloudEvent) int {
		arrived <- e.Subject
		return <-goOn
	})
	return arrived, goOn
}

// What changes while a snapshot is sent comes after it, also of entities that were sent
// already.
func TestChangesDuringASnapshot(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	arrived, goOn := r.held()
	c.publish("a", "b")
	c.delivering(c.member("r1"), c.hookTo(r))
	require.Equal(t, "order/a", <-arrived)
	goOn <- 200
	require.Equal(t, "order/b", <-arrived)
	c.publish("a", "c")
	go func() {
		for {
			select {
			case goOn <- 200:
			case <-c.ctx.Done():
				return
			}
		}
	}()
	require.True(t, eventuallyTrue(func() bool { return r.version("a") == 2 && r.version("c") == 1 && slices.Contains(r.log(), "synced") }), "%v", r.log())
}

// A replica that goes on with a snapshot sends what is left of it, and no more.
func TestSnapshotGoesOn(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	r.answers(func(e cloudEvent) int { return map[string]int{"order/c": 502}[e.Subject] })
	c.publish("a", "b", "c", "d")
	begun := c.clock.now()
	m := c.member("r1")
	stop := c.delivering(m, c.hookTo(r))
	c.saved("two are done", func(d storage.Delivery) bool { return d.Walk != nil && d.Walk.ID == "b" && d.Wait != nil })
	stop()
	for _, name := range []string{"tarn_delivery_lag_seconds", "tarn_delivery_parked_entities", "tarn_delivery_halted"} {
		require.False(t, m.shows(name), "%s of the next holder would stand beside it", name)
	}
	require.WithinDuration(t, begun, c.delivery().WalkSince, time.Minute)
	c.clock.move(time.Hour)
	m = c.member("r2")
	stop = c.delivering(m, c.hookTo(r))
	require.True(t, eventuallyTrue(func() bool { return m.metric("tarn_delivery_lag_seconds") >= time.Hour.Seconds() }), "since the snapshot began")
	stop()
	r.answers(nil)
	c.delivering(c.member("r3"), c.hookTo(r))
	c.accepted(r, "a@1", "b@1", "c@1", "d@1", "synced")
	c.saved("it is over", func(d storage.Delivery) bool { return d.Walk == nil && d.WalkSince.IsZero() && d.Event == nil })
}

// A message about the feed that is not accepted is what the receiver waits for: it is behind
// since then.
func TestLagOfAnAnnouncement(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	r.answers(func(e cloudEvent) int { return map[string]int{"feed": 503}[e.Subject] })
	c.publish("a")
	m := c.member("r1")
	c.delivering(m, c.hookTo(r))
	c.saved("it is to be told", func(d storage.Delivery) bool { return d.Event != nil && d.Wait != nil && d.Walk == nil })
	c.clock.move(time.Hour)
	require.True(t, eventuallyTrue(func() bool { return m.metric("tarn_delivery_lag_seconds") >= time.Hour.Seconds() }))
	r.answers(nil)
	c.accepted(r, "a@1", "synced")
	require.True(t, eventuallyTrue(func() bool { return m.metric("tarn_delivery_lag_seconds") == 0 }))
	r.answers(func(cloudEvent) int { return 502 })
	c.publish("b") // as of any change
	c.clock.move(time.Hour)
	require.True(t, eventuallyTrue(func() bool { return m.metric("tarn_delivery_lag_seconds") >= time.Hour.Seconds() }))
}

// A webhook that has another source than before begins with that one's snapshot: a place in
// one feed says nothing of another.
func TestDeliveryOfAnotherSource(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	c.publish("a")
	task := &storage.Task{ID: storage.DeliverTask("billing"), Kind: storage.KindDeliver, Source: "other"}
	c.create(task)
	task.Status, task.Epoch = storage.TaskRunning, 1
	task.State = encodeState(storage.Delivery{Source: "other", After: "A.9.B", Position: 9, Status: storage.DeliveryPaused})
	done, err := c.store.SaveTask(c.ctx, task)
	require.NoError(t, err)
	require.True(t, done)
	c.delivering(c.member("r1"), c.hookTo(r))
	c.accepted(r, "a@1", "synced")
}

// A holder that is behind another does not save, and sends no more.
func TestDeliveryIsFenced(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	c.publish("a")
	m := c.member("r1")
	c.delivering(m, c.hookTo(r))
	c.accepted(r, "a@1", "synced")
	c.saved("all is done", func(d storage.Delivery) bool { return d.Event == nil && d.Walk == nil })
	require.True(t, eventuallyTrue(func() bool { return m.shows("tarn_delivery_lag_seconds") }))
	later := c.task("deliver/billing")
	later.Epoch += time.Hour.Milliseconds()
	done, err := c.store.SaveTask(c.ctx, later)
	require.NoError(t, err)
	require.True(t, done)
	c.publish("a")
	require.True(t, eventuallyTrue(func() bool { return !m.shows("tarn_delivery_lag_seconds") }), "it has ended")
	now := c.task("deliver/billing")
	require.Equal(t, later.Epoch, now.Epoch)
	require.JSONEq(t, string(later.State), string(now.State))
}

// Messages that were on their way when the receiver wants no more end nothing again: it is on
// record once.
func TestDeliveryEndsOnce(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	arrived, goOn := r.held()
	to := c.hookTo(r)
	to.Concurrency = 3
	c.publish("a", "b", "c")
	m := c.member("r1")
	c.delivering(m, to)
	for range 3 {
		<-arrived
	}
	for range 3 {
		goOn <- http.StatusGone
	}
	require.True(t, eventuallyTrue(func() bool { return m.metric("tarn_deliveries_total") == 3 }))
	c.saved("it is disabled", func(d storage.Delivery) bool { return d.Status == storage.DeliveryDisabled && len(d.Parked) == 0 })
	m.mu.Lock()
	defer m.mu.Unlock()
	require.Len(t, m.alerts, 1)
	require.Equal(t, alert.DeliveryDisabled, m.alerts[0].Kind)
}

// A replica that stops waits for no receiver: what is on its way is cut off, and sent by the
// next.
func TestStopWithMessagesOnTheirWay(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	over := make(chan struct{})
	arrived := make(chan string, 10)
	r.answers(func(e cloudEvent) int { arrived <- e.Subject; <-over; return 200 })
	to := c.hookTo(r)
	to.Concurrency = 3
	c.publish("a", "b", "c")
	stop := c.delivering(c.member("r1"), to)
	for range 3 {
		<-arrived
	}
	stop()
	close(over)
	require.True(t, eventuallyTrue(func() bool { return len(r.log()) == 3 }), "the receiver is done with them")
	require.Empty(t, c.delivery().Parked)
	r.answers(nil)
	c.delivering(c.member("r2"), to)
	require.True(t, eventuallyTrue(func() bool { return slices.Contains(r.log(), "synced") }))
}

// A message of several that comes again has the same id.
func TestBatchesComeAgain(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	r.answers(func(cloudEvent) int { return 502 })
	to := c.hookTo(r)
	to.Batch = 2
	c.publish("a", "b")
	stop := c.delivering(c.member("r1"), to)
	c.saved("it waits", func(d storage.Delivery) bool { return d.Wait != nil })
	stop()
	r.answers(nil)
	c.clock.move(time.Minute)
	c.delivering(c.member("r2"), to)
	c.accepted(r, "a@1", "b@1", "synced")
	r.mu.Lock()
	defer r.mu.Unlock()
	require.Regexp(t, `^batch_[0-9a-f]{32}$`, r.ids[0])
	require.Equal(t, r.ids[0], r.ids[len(r.ids)-2])
}

// wishes leaves wishes of an operator, in their order, for a replica to come.
func (c *scene) wishes(specs ...storage.SteerSpec) (ids []string) {
	c.t.Helper()
	for i, spec := range specs {
		ids = append(ids, fmt.Sprint("steer_asked", i))
		c.create(&storage.Task{ID: ids[i], Kind: storage.KindSteer, Source: c.finder.name, By: "ops", Spec: encodeState(spec)})
		c.clock.move(time.Second)
	}
	return ids
}

// Wishes are done in the order in which they were asked, by the webhook that they name.
func TestSteeringInOrder(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	c.publish("a")
	ids := c.wishes(
		storage.SteerSpec{Webhook: "billing", Act: storage.SteerPause, Reason: "it moves"}, storage.SteerSpec{Webhook: "other", Act: storage.SteerPause},
		storage.SteerSpec{Webhook: "billing", Act: storage.SteerResume},
	)
	c.delivering(c.member("r1"), c.hookTo(r))
	require.True(t, eventuallyTrue(func() bool {
		return c.task(ids[0]).Status == storage.TaskDone && c.task(ids[2]).Status == storage.TaskDone
	}))
	c.accepted(r, "a@1", "synced")
	require.Equal(t, storage.TaskWaiting, c.task(ids[1]).Status)
}

// Resume makes what is parked due at once. A rewind to a place keeps what is parked, which may
// be before it; one to now gives it up; and neither says that the webhook was paused by
// another.
func TestSteeringOfParked(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	r := newReceiver(t)
	bad := func(e cloudEvent) int { return map[string]int{"order/bad": 422}[e.Subject] }
	r.answers(bad)
	c.publish("a", "bad")
	c.delivering(c.member("r1"), c.hookTo(r))
	c.accepted(r, "a@1", "synced")
	c.saved("bad is parked", func(d storage.Delivery) bool { return len(d.Parked) == 1 && d.Event == nil })
	at := c.delivery().After
	c.steer(storage.SteerSpec{Act: storage.SteerRewind, After: at})
	require.Len(t, c.delivery().Parked, 1)
	c.saved("bad waits for more than a minute", func(d storage.Delivery) bool {
		if len(d.Parked) == 1 && d.Parked[0].Attempts < 6 {
			c.clock.move(max(0, d.Parked[0].Due.Sub(c.clock.now())))
		}
		return len(d.Parked) == 1 && d.Parked[0].Attempts >= 6
	})
	r.answers(nil)
	c.steer(storage.SteerSpec{Act: storage.SteerResume})
	c.accepted(r, "a@1", "synced", "bad@1")
	c.saved("none is parked", func(d storage.Delivery) bool { return len(d.Parked) == 0 })

	r.answers(bad)
	c.publish("bad")
	c.saved("bad is parked again", func(d storage.Delivery) bool { return len(d.Parked) == 1 })
	c.steer(storage.SteerSpec{Act: storage.SteerPause, Reason: "maintenance"})
	c.steer(storage.SteerSpec{Act: storage.SteerRewind, After: storage.AfterNow})
	d := c.delivery()
	require.Empty(t, d.Parked)
	require.Equal(t, "maintenance", d.Reason)
	require.Equal(t, storage.DeliveryPaused, d.Status)
}

// A rewind takes back a message about the feed that is not accepted yet, also one that is
// parked: it is about the place before.
func TestRewindTakesBackAnAnnouncement(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"parked": 422, "waiting": 503} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newScene(t)
			r := newReceiver(t)
			r.answers(func(e cloudEvent) int { return map[string]int{"feed": status}[e.Subject] })
			c.publish("a")
			c.delivering(c.member("r1"), c.hookTo(r))
			c.saved("it is to be told", func(d storage.Delivery) bool { return d.Event != nil && (d.Wait != nil || len(d.Parked) == 1) })
			c.steer(storage.SteerSpec{Act: storage.SteerRewind, After: c.delivery().After})
			d := c.delivery()
			require.Nil(t, d.Event)
			require.Empty(t, d.Parked)
			r.answers(nil)
			c.steer(storage.SteerSpec{Act: storage.SteerResume})
			c.publish("b")
			c.accepted(r, "a@1", "b@1")
		})
	}
}
