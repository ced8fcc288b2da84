package reconciler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream"
)

func (m *member) alertsOf(k alert.Kind) (of []alert.Alert) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.alerts {
		if a.Kind == k {
			of = append(of, a)
		}
	}
	return of
}

// With no worker left the reconciler measures what waits and alerts once.
func TestAFleetWithoutWorkers(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	e := &event.Event{
		Source: "shop", ID: "evt_1", Type: "order.made", CreatedAt: time.Now(), ReceivedAt: time.Now(),
		Entities: []event.Ref{{Key: c.key("order", "o1")}}, Payload: []byte(`{}`),
	}
	_, err := c.streams.Append(c.ctx, stream.Draft{Signal: event.Own(e, "")})
	require.NoError(t, err)
	a, b := c.member("a"), c.member("b")
	c.start(a.Run)
	c.start(b.Run)
	alerts := func() int { return len(a.alertsOf(alert.NoWorker)) + len(b.alertsOf(alert.NoWorker)) }
	c.eventually("an alert", func() bool { return alerts() > 0 })
	one := append(a.alertsOf(alert.NoWorker), b.alertsOf(alert.NoWorker)...)[0]
	require.Equal(t, "shop", one.Source)
	require.Contains(t, one.Reason, "1 live")
	sum := func(name string) float64 { return a.metric(name) + b.metric(name) }
	require.Equal(t, 1.0, sum("tarn_backlog_entries"), "one replica measures")
	require.Positive(t, sum("tarn_backlog_oldest_age_seconds"))
	require.Zero(t, sum("tarn_workers"))

	_, err = c.streams.Member("w1").Beat(c.ctx)
	require.NoError(t, err)
	c.eventually("the worker is seen", func() bool {
		_, err := c.streams.Member("w1").Beat(c.ctx)
		return err == nil && sum("tarn_workers") == 1
	})
	require.Equal(t, 1, alerts(), "once")
}

func TestWatchForWorkers(t *testing.T) {
	t.Parallel()
	const patience = 15 * time.Second
	work := map[string]stream.ShardSource{"a": {Live: 1, Oldest: time.Minute}, "idle": {}}
	parked := map[string]stream.ShardSource{"a": {Parked: 1}}
	young := map[string]stream.ShardSource{"a": {Live: 1, Oldest: time.Second}}
	type look struct {
		totals  map[string]stream.ShardSource
		workers int
		at      time.Duration
		alerts  int
	}
	for name, looks := range map[string][]look{
		"work and workers":         {{work, 1, 0, 0}, {work, 1, time.Hour, 0}},
		"for too short a time":     {{work, 0, 0, 0}, {work, 0, patience - 1, 0}},
		"once":                     {{work, 0, 0, 0}, {work, 0, patience, 1}, {work, 0, time.Hour, 0}},
		"parked work":              {{parked, 0, 0, 0}, {parked, 0, patience, 1}},
		"work that has just come":  {{young, 0, 0, 0}, {young, 0, time.Hour, 0}},
		"no work":                  {{nil, 0, 0, 0}, {nil, 0, time.Hour, 0}},
		"again after a worker was": {{work, 0, 0, 0}, {work, 0, patience, 1}, {work, 1, time.Minute, 0}, {work, 0, 2 * time.Minute, 0}, {work, 0, 3 * time.Minute, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			var w watch
			start := time.Now()
			for _, l := range looks {
				require.Len(t, w.see(l.totals, l.workers, start.Add(l.at), patience), l.alerts, l.at)
			}
		})
	}
}

// An eviction policy that is set while the fleet runs is alerted once for all.
func TestEvictionIsAlerted(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	a, b := c.member("a"), c.member("b")
	c.start(a.Run)
	c.start(b.Run)
	alerts := func() int { return len(a.alertsOf(alert.RedisUnsafe)) + len(b.alertsOf(alert.RedisUnsafe)) }
	require.NoError(t, c.redis.Ask(c.ctx, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru"))
	c.eventually("an alert", func() bool { return alerts() > 0 })
	require.NoError(t, c.redis.Ask(c.ctx, "CONFIG", "SET", "maxmemory-policy", "noeviction"))
	c.eventually("ready again", func() bool { return a.Streams.Evicting() == nil && b.Streams.Evicting() == nil })
	require.Equal(t, 1, alerts())
}

// A key that another program wrote is alerted once, by its name, and what else
// waits is measured.
func TestAKeyOfAnotherTypeIsAlerted(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	const key = "{tarn:1}:live:shop"
	require.NoError(t, c.redis.Client().Set(c.ctx, key, "oops", 0).Err())
	a := c.member("a")
	c.start(a.Run)
	c.eventually("an alert", func() bool { return len(a.alertsOf(alert.RedisUnsafe)) > 0 })
	require.Contains(t, a.alertsOf(alert.RedisUnsafe)[0].Reason, key)
	_, err := c.streams.Member("w1").Beat(c.ctx)
	require.NoError(t, err)
	c.eventually("it is measured again", func() bool {
		_, err := c.streams.Member("w1").Beat(c.ctx)
		return err == nil && a.metric("tarn_workers") == 1
	})
	require.Len(t, a.alertsOf(alert.RedisUnsafe), 1)
}
