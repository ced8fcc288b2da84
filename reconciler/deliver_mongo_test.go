package reconciler

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
)

// onMongo is a scene whose store speaks MongoDB's protocol.
func onMongo(t *testing.T) *scene {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a server of MongoDB's protocol")
	}
	c := newScene(t)
	server, err := mongotest.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	store, err := mongo.Open(t.Context(), server.URI(server.Database()), mongo.Options{BulkSize: mongotest.BulkSize})
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	c.store = &noting{Store: store}
	c.finder.store = c.store
	return c
}

// On MongoDB a webhook is sent a snapshot and what changes, parks what is refused, waits,
// ends, is steered, and another replica goes on from what was saved: its state is kept there
// as it is in SQLite.
func TestDeliveryOnMongoDB(t *testing.T) {
	t.Parallel()
	c := onMongo(t)
	r := newReceiver(t)
	r.answers(func(e cloudEvent) int { return map[string]int{"order/bad": 422}[e.Subject] })
	c.publish("bad", "a")
	stop := c.delivering(c.member("r1"), c.hookTo(r))
	c.accepted(r, "a@1", "synced")
	c.publish("bad", "b")
	c.accepted(r, "a@1", "synced", "b@1")
	c.saved("bad is parked, and the place is behind it", func(d storage.Delivery) bool {
		return d.Position == 5 && d.Walk == nil && d.WalkSince.IsZero() && d.Event == nil && len(d.Parked) == 1 && d.Parked[0].Key == c.key("order", "bad") &&
			d.Parked[0].Version == 2 && d.Parked[0].Attempts > 0 && strings.Contains(d.Parked[0].Error, "422") && strings.Contains(d.LastError, "422")
	})
	before := c.delivery()
	stop()

	r.answers(func(cloudEvent) int { return http.StatusTooManyRequests })
	c.clock.move(time.Hour)
	c.publish("a")
	stop = c.delivering(c.member("r2"), c.hookTo(r))
	c.saved("it waits", func(d storage.Delivery) bool { return d.Wait != nil && len(d.Parked) == 1 })
	require.Len(t, r.log(), 3)
	stop()
	r.answers(func(cloudEvent) int { return http.StatusGone })
	c.delivering(c.member("r3"), c.hookTo(r))
	c.clock.move(time.Minute)
	c.saved("it is disabled", func(d storage.Delivery) bool { return d.Status == storage.DeliveryDisabled && d.By == "receiver" })
	r.answers(nil)
	c.steer(storage.SteerSpec{Act: storage.SteerResume})
	require.True(t, eventuallyTrue(func() bool { return r.version("a") == 2 && r.version("bad") == 2 }))
	c.saved("none is parked", func(d storage.Delivery) bool { return len(d.Parked) == 0 && d.Position == 6 && d.Wait == nil })
	n := len(r.log())
	require.Equal(t, 5, n)

	c.steer(storage.SteerSpec{Act: storage.SteerRewind, After: before.After})
	require.True(t, eventuallyTrue(func() bool { return len(r.log()) == n+1 }))
	require.Equal(t, "a@2", r.log()[n])

	// Behind what is kept, the receiver is told so and sent everything.
	c.steer(storage.SteerSpec{Act: storage.SteerPause, Reason: "maintenance"})
	c.publish("a")
	c.clock.move(time.Hour)
	c.publish("b")
	_, err := c.store.TrimFeed(c.ctx, c.finder.name, c.clock.now().Add(-time.Minute))
	require.NoError(t, err)
	c.steer(storage.SteerSpec{Act: storage.SteerResume})
	require.True(t, eventuallyTrue(func() bool { return len(r.log()) == n+6 }))
	require.Equal(t, []string{"reset retention", "a@3", "b@2", "bad@2", "synced"}, r.log()[n+1:])
}
