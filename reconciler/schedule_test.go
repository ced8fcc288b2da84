package reconciler

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

func TestWhenASweepIsDue(t *testing.T) {
	t.Parallel()
	const every = 15 * time.Minute
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	due := map[time.Time]bool{}
	offsets := map[time.Duration]bool{}
	var last time.Time
	for now := at; now.Before(at.Add(5 * time.Hour)); now = now.Add(10 * time.Second) {
		d := sweepDue("lemon", every, now)
		require.False(t, d.After(now))
		require.Less(t, now.Sub(d), every+every/10)
		require.False(t, d.Before(last), "time goes on")
		last = d
		due[d] = true
		offsets[d.Sub(d.Truncate(every))] = true
	}
	require.InDelta(t, 21, len(due), 1)
	require.Greater(t, len(offsets), 10, "spread")
	require.NotEqual(t, sweepDue("lemon", every, at.Add(5*time.Minute)), sweepDue("stripe", every, at.Add(5*time.Minute)))
}

// Two replicas start one sweep; while it is under way, no other is started; and
// until something was finished, a source is filled in place of being swept.
func TestSweepsAreStartedOnce(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 1)
	a, b := c.member("a"), c.member("b")
	all := func() []*storage.Task {
		page, err := c.store.Tasks(c.ctx, storage.TaskFilter{})
		require.NoError(t, err)
		return page.Items
	}
	start := func(m *member, due time.Time) { require.NoError(t, m.startSweep(c.ctx, m.base, m.source("shop"), due)) }
	due := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	start(a, due)
	start(b, due)
	require.Len(t, all(), 1)
	require.Equal(t, kindBackfill, all()[0].Kind, "the mirror is empty")
	require.Equal(t, "sweep_shop_20260301T120000Z", all()[0].ID)
	start(a, due.Add(time.Hour))
	require.Len(t, all(), 1, "one is under way")

	_, err := c.store.CancelTask(c.ctx, all()[0].ID)
	require.NoError(t, err)
	start(b, due)
	require.Len(t, all(), 1, "it was that one's turn")
	c.sync(event.Ref{Key: c.key("customer", "c0")})
	start(b, due.Add(time.Hour))
	require.Len(t, all(), 2)
	again := c.task("sweep_shop_20260301T130000Z")
	require.Equal(t, kindBackfill, again.Kind, "workers have mirrored something, and nothing was finished yet")
	_, err = c.store.CancelTask(c.ctx, again.ID)
	require.NoError(t, err)
	c.sweepBy(modeSweep, storage.SweepSpec{Kinds: []string{"customer"}}, c.replica("a"))
	start(b, due.Add(2*time.Hour))
	require.Equal(t, kindSweep, c.task("sweep_shop_20260301T140000Z").Kind, "a kind was swept; the others are filled by the sweep")
}

func TestTheScheduleStartsAndForgets(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	m := c.member("a")
	m.sources[0].Settings.Sweep.Every = time.Second
	old := c.clock.now().Add(-8 * 24 * time.Hour).UTC()
	require.NoError(t, c.store.CreateTasks(c.ctx, []*storage.Task{{ID: "sweep_old", Kind: kindSweep, Source: "shop", Status: storage.TaskDone, CreatedAt: old, FinishedAt: old}}))
	c.start(func(ctx context.Context) { m.keep(ctx, "schedule", m.schedule) })
	c.eventually("a sweep is started and the old one forgotten", func() bool {
		page, err := c.store.Tasks(c.ctx, storage.TaskFilter{})
		return err == nil && len(page.Items) > 0 && page.Items[len(page.Items)-1].ID != "sweep_old"
	})
}

func TestMissingTypes(t *testing.T) {
	t.Parallel()
	wanted := []string{"order.created", "order.executed"}
	for name, tc := range map[string]struct {
		hooks   []provider.Webhook
		address string
		want    []string
	}{
		"none":                {nil, "", wanted},
		"all":                 {[]provider.Webhook{{URL: "https://x", Types: wanted}}, "", []string{}},
		"all, of two":         {[]provider.Webhook{{URL: "https://x", Types: wanted[:1]}, {URL: "https://y", Types: wanted[1:]}}, "", []string{}},
		"everything":          {[]provider.Webhook{{URL: "https://x", Types: []string{"*"}}}, "", nil},
		"one is missing":      {[]provider.Webhook{{URL: "https://x", Types: wanted[:1]}}, "", wanted[1:]},
		"sent elsewhere":      {[]provider.Webhook{{URL: "https://y", Types: wanted}}, "https://x", wanted},
		"sent to us":          {[]provider.Webhook{{URL: "https://x/", Types: wanted}}, "https://x", []string{}},
		"more than is wanted": {[]provider.Webhook{{URL: "https://x", Types: append([]string{"a.b"}, wanted...)}}, "", []string{}},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, tc.want, missingTypes(wanted, tc.hooks, tc.address)) })
	}
}

// A gap in the subscription raises one alert, and is closed when the types are
// subscribed.
func TestSubscriptionGaps(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	m := c.member("a")
	f := m.finder(m.source("shop"), nil)
	statuses := func() map[storage.DiscrepancyStatus]int {
		page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{Type: storage.SubscriptionGap})
		require.NoError(t, err)
		out := map[storage.DiscrepancyStatus]int{}
		for _, d := range page.Items {
			out[d.Status]++
		}
		return out
	}
	record := func(missing ...string) {
		require.NoError(t, m.recordSubscription(c.ctx, f, missing, 0))
		c.clock.move(time.Minute)
	}
	record()
	require.Empty(t, statuses())
	record("order.created")
	record("order.created")
	require.Equal(t, map[storage.DiscrepancyStatus]int{storage.Confirmed: 1}, statuses())
	require.Len(t, m.alerts, 1)
	require.Equal(t, alert.Discrepancy, m.alerts[0].Kind)
	require.Contains(t, m.alerts[0].Reason, "1 event types that are mirrored: order.created")
	record("order.created", "order.executed")
	require.Equal(t, map[storage.DiscrepancyStatus]int{storage.Confirmed: 1, storage.Repaired: 1}, statuses(), "another gap")
	record()
	require.Equal(t, map[storage.DiscrepancyStatus]int{storage.Repaired: 2}, statuses())
	record("order.created")
	require.Equal(t, map[storage.DiscrepancyStatus]int{storage.Confirmed: 1, storage.Repaired: 2}, statuses(), "open again")
	require.Len(t, m.alerts, 3)
	require.Equal(t, "the provider sends no webhooks for 1 event types", m.alerts[0].Warning)

	var many []string
	for i := range 12 {
		many = append(many, fmt.Sprintf("order.%02d", i))
	}
	record(many...)
	require.Contains(t, m.alerts[3].Reason, "order.09 and 2 more")
	require.NotContains(t, m.alerts[3].Reason, "order.10")
}

// The subscription is asked for over HTTP, and again after an hour if that failed.
func TestASubscriptionIsAskedFor(t *testing.T) {
	t.Parallel()
	def, err := provider.Parse("shop.yaml", []byte(strings.Replace(shopDefinition, "history: {status", `  webhooks:
    path: /webhooks
    url: url
    types: types
    live: {at: status, is: enabled}
    expected: {customer: [created], order: [made, sold]}
history: {status`, 1)))
	require.NoError(t, err)
	shop := newShop(t)
	c := newSceneAt(t, def, "shop", shop.URL, shop)
	m := c.member("a")
	m.sources[0].WebhookURL = "https://tarn.example/webhooks/shop"
	shop.put("/webhooks/1", `{"id":"1","url":"https://tarn.example/webhooks/shop","types":["customer.created","order.made"],"status":"enabled"}`)
	shop.put("/webhooks/2", `{"id":"2","url":"https://elsewhere.example","types":["*"],"status":"enabled"}`)
	shop.put("/webhooks/3", `{"id":"3","url":"https://elsewhere.example","types":["*"],"status":"disabled"}`)
	check := func() *storage.Task {
		require.NoError(t, m.ensureTask(c.ctx, nil, "subscription/shop", kindSubscription, "shop"))
		require.NoError(t, m.visit(c.ctx, "subscription/shop", nil, func(ctx context.Context, w *work) error {
			return m.checkSubscription(ctx, m.finder(m.source("shop"), nil), m.source("shop"), w)
		}))
		return c.task("subscription/shop")
	}
	task := check()
	require.Empty(t, task.Error)
	require.Equal(t, subscriptionAgain, nextCheck(task), "a gap is soon seen to be closed")
	require.Len(t, m.alerts, 1)
	require.Contains(t, m.alerts[0].Reason, "1 event types that are mirrored: order.sold")
	require.InDelta(t, 1, m.metric("tarn_subscription_missing_types"), 0)

	shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/webhooks" {
			w.WriteHeader(http.StatusBadRequest)
		}
		return r.URL.Path == "/webhooks"
	})
	task = check()
	require.Contains(t, task.Error, "HTTP 400")
	require.Equal(t, subscriptionAgain, nextCheck(task))
	require.Len(t, m.alerts, 1)

	shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/webhooks" {
			_, _ = fmt.Fprint(w, `{"data":[],"next":"round"}`)
		}
		return r.URL.Path == "/webhooks"
	})
	require.Contains(t, check().Error, "the list does not end")
	require.Len(t, m.alerts, 2)
	require.Equal(t, alert.ListTooLong, m.alerts[1].Kind)

	shop.interfere(nil)
	shop.put("/webhooks/1", `{"id":"1","url":"https://tarn.example/webhooks/shop","types":["*"],"status":"disabled"}`)
	require.Empty(t, check().Error)
	require.Len(t, m.alerts, 3)
	require.Contains(t, m.alerts[2].Reason, "3 event types that are mirrored: customer.created, order.made, order.sold; 1 webhooks are disabled there: enable them")

	shop.put("/webhooks/1", `{"id":"1","url":"https://tarn.example/webhooks/shop","types":["*"],"status":"enabled"}`)
	task = check()
	require.Empty(t, task.Error)
	require.Equal(t, subscriptionEvery, nextCheck(task))
	require.Zero(t, m.metric("tarn_subscription_missing_types"))
	page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{Type: storage.SubscriptionGap})
	require.NoError(t, err)
	require.Len(t, page.Items, 2)
	for i, gap := range page.Items {
		require.Equal(t, storage.Repaired, gap.Status)
		for _, text := range []string{string(gap.Patch), m.alerts[i].Reason} { // the address of a source without signatures is secret
			require.NotContains(t, text, "tarn.example")
		}
	}
}

func TestStalenessIsExported(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(2, 0)
	for i := range 2 {
		c.sync(event.Ref{Key: c.key("customer", fmt.Sprintf("c%d", i))})
	}
	m := c.member("a")
	c.clock.move(time.Hour)
	measure := func() { require.NoError(t, m.measure(c.ctx, m.finder(m.source("shop"), nil))) }
	measure()
	require.InDelta(t, 3600, m.metric("tarn_staleness_seconds"), 30)
	require.InDelta(t, 24*3600, m.metric("tarn_verify_every_seconds"), 0)
	m.Metrics.Staleness.WithLabelValues("shop", "moon").Set(1e9)
	measure()
	require.InDelta(t, 3600, m.metric("tarn_staleness_seconds"), 30, "a kind that is gone is gone")
}

// One replica measures, and removes its figure when it stops.
func TestStalenessIsMeasuredByOne(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(1, 0)
	c.sync(event.Ref{Key: c.key("customer", "c0")})
	c.clock.move(time.Hour)
	a, b := c.member("a"), c.member("b")
	require.Contains(t, a.standing(a.sources[0]), kindStaleness, "it is a standing task")
	measuring := func(m *member) func(context.Context) {
		return func(ctx context.Context) { m.keep(ctx, "staleness shop", m.stand(kindStaleness, "shop", m.staleness)) }
	}
	stopA := c.start(measuring(a))
	c.eventually("a measures", func() bool { return a.metric("tarn_staleness_seconds") > 3000 })
	c.start(measuring(b))
	require.Zero(t, b.metric("tarn_staleness_seconds"))
	stopA()
	require.Zero(t, a.metric("tarn_staleness_seconds"))
	c.eventually("b measures", func() bool { return b.metric("tarn_staleness_seconds") > 3000 })
}
