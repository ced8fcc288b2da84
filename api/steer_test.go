package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// ledger is a mirror with a webhook.
func ledger(t *testing.T) *mirror {
	t.Helper()
	return newMirror(t, func(o *Options) {
		o.Now = time.Now
		o.Webhooks = []OutgoingWebhook{{Name: "ledger", Source: "lemon", Kinds: []string{"order"}}}
	})
}

// deliver saves what a reconciler would.
func (m *mirror) deliver(d storage.Delivery) {
	m.t.Helper()
	id := storage.DeliverTask("ledger")
	task := &storage.Task{ID: id, Kind: storage.KindDeliver, Source: "lemon", Status: storage.TaskRunning, CreatedAt: time.Now()}
	require.NoError(m.t, m.o.Store.CreateTasks(m.t.Context(), []*storage.Task{task}))
	task.State, task.Epoch = toJSON(d), time.Now().UnixMilli()
	saved, err := m.o.Store.(storage.Store).SaveTask(m.t.Context(), task)
	require.NoError(m.t, err)
	require.True(m.t, saved)
}

func (m *mirror) subscription() subscription {
	m.t.Helper()
	var list subscriptionList
	require.NoError(m.t, json.Unmarshal(m.get("/v1/subscriptions").Body.Bytes(), &list))
	require.Len(m.t, list.Items, 1)
	return list.Items[0]
}

// A webhook shows what the changes sent to it are about, also where its settings do not say.
func TestASubscriptionShowsItsTypes(t *testing.T) {
	t.Parallel()
	m := newMirror(t, func(o *Options) {
		o.Now = time.Now
		o.Webhooks = []OutgoingWebhook{
			{Name: "all", Source: "lemon"},
			{Name: "orders", Source: "lemon", Kinds: []string{"order"}},
			{Name: "wishes", Source: "lemon", Kinds: []string{"order"}, Types: []string{"command"}},
		}
	})
	var list subscriptionList
	require.NoError(t, json.Unmarshal(m.get("/v1/subscriptions").Body.Bytes(), &list))
	shown := map[string][]string{}
	for _, s := range list.Items {
		shown[s.Consumer] = s.Types
	}
	require.Equal(t, map[string][]string{"all": {"command", "entity"}, "orders": {"entity"}, "wishes": {"command"}}, shown)
}

// A webhook is among the subscriptions, from the start, with how far it is and what holds
// it up; its lag is a metric as that of readers is.
func TestWebhookIsASubscription(t *testing.T) {
	t.Parallel()
	m := ledger(t)
	m.changed("order", "b1", `{}`)
	s := m.subscription()
	require.Equal(t, "active", s.Webhook.Status)
	require.Equal(t, "webhook", s.Form)
	require.Equal(t, []string{"order"}, s.Kinds)
	require.Equal(t, []string{"entity"}, s.Types, "by kinds it is sent no commands")
	require.Equal(t, "0", s.After)
	head, err := feed.Head(t.Context(), m.o.Store, "lemon")
	require.NoError(t, err)
	require.Equal(t, head.Position, s.Lag.Positions)

	m.changed("order", "b2", `{}`)
	now := time.Now()
	parked := make([]storage.ParkedDelivery, 30)
	for i := range parked {
		parked[i].Key = order("b1", now).Key
	}
	d := storage.Delivery{
		Source: "lemon", After: head.String(), Position: head.Position, LastError: "the receiver answered 500", LastErrorAt: now, AcceptedAt: now,
		Parked: parked, Walk: &storage.DeliveryWalk{}, Event: &storage.DeliveryEvent{Type: "dev.tarn.feed.reset"},
	}
	m.deliver(d)
	s = m.subscription()
	require.EqualValues(t, 1, s.Lag.Positions)
	require.Greater(t, s.Lag.Seconds, 0.0)
	require.True(t, s.Snapshot)
	require.EqualValues(t, 30, s.Webhook.Parked)
	require.Len(t, s.Webhook.Entities, 20)
	require.Equal(t, "order/b1", s.Webhook.Entities[0].Subject)
	require.Equal(t, "the receiver answered 500", s.Webhook.Error)
	require.Equal(t, "dev.tarn.feed.reset", s.Webhook.Announces)
	m.follow.consumers.measure(t.Context())
	require.Contains(t, m.get("/metrics").Body.String(), `tarn_feed_lag{consumer="ledger",source="lemon"} 1`)

	// What is left of a snapshot, or a message about the feed, waits too, though the feed has
	// nothing more.
	d.Position, d.WalkSince = head.Position+1, now.Add(-time.Hour)
	m.deliver(d)
	s = m.subscription()
	require.Zero(t, s.Lag.Positions)
	require.GreaterOrEqual(t, s.Lag.Seconds, time.Hour.Seconds())
	d.Walk, d.Event.At = nil, now.Add(-time.Minute)
	m.deliver(d)
	s = m.subscription()
	require.GreaterOrEqual(t, s.Lag.Seconds, time.Minute.Seconds())
	require.Less(t, s.Lag.Seconds, time.Hour.Seconds())
	d.Event = nil
	m.deliver(d)
	require.Zero(t, m.subscription().Lag.Seconds)

	d.Wait = &storage.DeliveryWait{Since: now, Until: now, Error: "away"}
	m.deliver(d)
	require.Equal(t, "waiting", m.subscription().Webhook.Status)
	d.Status, d.By, d.Reason = storage.DeliveryDisabled, "receiver", "the receiver answered 410"
	m.deliver(d)
	s = m.subscription()
	require.Equal(t, "disabled", s.Webhook.Status)
	require.Equal(t, "receiver", s.Webhook.By)

	d.Source = "stripe"
	m.deliver(d)
	require.Zero(t, m.subscription().Position, "it had another source before")
	require.Equal(t, http.StatusUnprocessableEntity, m.get("/v1/changes?source=lemon&consumer=ledger").Code)
}

// What an operator asks is a task for the reconciler, and in the audit.
func TestSteer(t *testing.T) {
	t.Parallel()
	m := ledger(t)
	m.changed("order", "b1", `{}`)
	head, err := feed.Head(t.Context(), m.o.Store, "lemon")
	require.NoError(t, err)
	for _, tc := range []struct {
		act, body string
		want      storage.SteerSpec
		audit     string
	}{
		{"pause", `{"reason":"it moves"}`, storage.SteerSpec{Webhook: "ledger", Act: "pause", Reason: "it moves"}, "pause the webhook ledger: it moves"},
		{"resume", "", storage.SteerSpec{Webhook: "ledger", Act: "resume"}, "resume the webhook ledger"},
		{"rewind", `{"after":"snapshot"}`, storage.SteerSpec{Webhook: "ledger", Act: "rewind", After: "snapshot"}, "rewind the webhook ledger to snapshot"},
		{"rewind", `{"after":"now"}`, storage.SteerSpec{Webhook: "ledger", Act: "rewind", After: "now"}, "rewind the webhook ledger to now"},
		{"rewind", `{"after":"` + head.String() + `"}`, storage.SteerSpec{Webhook: "ledger", Act: "rewind", After: head.String()}, "rewind the webhook ledger to " + head.String()},
	} {
		w := m.send("POST", "/v1/subscriptions/ledger/"+tc.act, tc.body)
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		tasks, err := m.o.Store.Tasks(t.Context(), storage.TaskFilter{Kinds: []string{storage.KindSteer}, Statuses: []storage.TaskStatus{storage.TaskWaiting}})
		require.NoError(t, err)
		var specs []string
		for _, task := range tasks.Items {
			specs = append(specs, string(task.Spec))
			require.Equal(t, "lemon", task.Source)
		}
		require.Contains(t, specs, string(toJSON(tc.want)))
		require.Contains(t, m.get("/v1/audit").Body.String(), tc.audit)
	}
	for path, want := range map[string]int{
		"ledger/rewind {}": 422, `ledger/rewind {"after":"x"}`: 422, `ledger/rewind {"after":"AAAA.9.BBBB"}`: 410, `nosuch/rewind {"after":"now"}`: 404,
		"nosuch/resume ": 404, `nosuch/pause {"reason":"r"}`: 404, "ledger/pause {}": 422, `ledger/pause {"reason":" "}`: 422,
	} {
		at, body, _ := strings.Cut(path, " ")
		w := m.send("POST", "/v1/subscriptions/"+at, body)
		require.Equal(t, want, w.Code, "%s: %s", path, w.Body)
	}
	require.Contains(t, m.send("POST", "/v1/subscriptions/nosuch/resume", "").Body.String(), `"known":["ledger"]`)
}
