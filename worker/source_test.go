package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/worker"
)

// A provider answers 429, for a while always, then now and then: the fleet asks for less, no
// attempt is charged and no alert is raised. When it no longer does, the pace comes back.
func TestPaceIsLearnedFromRefusals(t *testing.T) {
	t.Parallel()
	const events = 100
	sim, err := simulator.New(simulator.Options{Chaos: simulator.Chaos{Outage: "429", RetryAfter: simulator.Duration(time.Second)}})
	require.NoError(t, err)
	server := httptest.NewServer(sim.Handler())
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(t.Context())
	living := make(chan error, 1)
	go func() { living <- sim.Run(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-living) })
	require.NoError(t, sim.StartLoad(simulator.Load{Entities: events, Accounts: 20, Events: events, Rate: 1e6, Silent: true}))
	require.True(t, eventually(func() bool { return sim.LoadProgress().MadeAt != nil }))

	lemon, err := provider.Builtin("lemon")
	require.NoError(t, err)
	client, err := provider.NewClient(lemon, provider.ClientOptions{BaseURL: server.URL + "/v1", Key: "key"})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	b := setup(t, func(o *worker.Options) {
		o.Sources = []worker.Source{{
			Name: "acme", Definition: lemon, Client: client, Rate: stream.Rate{Limit: 2000}, Concurrency: 16,
		}}
	})
	b.def = lemon
	for _, order := range sim.Truth("order", 0) {
		b.send("order.created", "order", order.ID, "account", order.Account)
	}
	b.start("w1")
	require.True(t, eventually(func() bool { return b.metric("tarn_source_pace_ratio") > 0 && b.metric("tarn_source_pace_ratio") < 0.8 }))
	require.Positive(t, b.metric("tarn_fetches_total", "429"))
	sim.SetChaos(simulator.Chaos{TooMany: 0.02})
	for _, row := range b.rows() {
		row = b.row(row.ID, storage.Processed)
		require.Zero(t, row.Attempts, "to be refused for haste costs no attempt")
	}
	require.Empty(t, b.told.of(alert.SourcePaused))
	sim.SetChaos(simulator.Chaos{})
	require.True(t, eventually(func() bool { return b.metric("tarn_source_pace_ratio") == 1 }))
}

// What the provider says is left is heeded before it has to refuse a request:
// what remains is spread over the time until the limit is reset, and when nothing
// remains, because others ask too, all workers wait for that.
func TestRateHeadersAreHeeded(t *testing.T) {
	t.Parallel()
	const window, each = time.Second, 10
	var mu sync.Mutex
	var reset time.Time
	left, refused := 0, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		switch {
		case reset.IsZero():
			left, reset = 1, now.Add(10*window) // the pause is seen although the machine stalls
		case now.After(reset):
			left, reset = each, now.Add(window)
		}
		left--
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-RateLimit-Remaining", fmt.Sprint(max(left, 0)))
		w.Header().Set("X-RateLimit-Reset", fmt.Sprint(math.Ceil(reset.Sub(now).Seconds())))
		if left < 0 {
			refused++
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = w.Write([]byte(`{"id":"` + path.Base(r.URL.Path) + `",` + ok[1:]))
	}))
	t.Cleanup(server.Close)
	def, err := provider.Parse("acme.yaml", []byte(strings.Replace(definition, "  probe:", "  rate_headers: x-ratelimit\n  probe:", 1)))
	require.NoError(t, err)
	client, err := provider.NewClient(def, provider.ClientOptions{BaseURL: server.URL, Key: "key"})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	b := setup(t, func(o *worker.Options) {
		o.Sources = []worker.Source{{Name: "acme", Definition: def, Client: client, Rate: stream.Rate{Limit: 1000}, Concurrency: 1}}
	})
	b.start("w1")
	first := b.send("widget.sold", "widget", "w1")
	b.paused("rate limit used up")
	b.row(first, storage.Processed)
	for i := range 25 {
		b.send("widget.sold", "widget", fmt.Sprint(i))
	}
	b.empty()
	for _, row := range b.rows() {
		require.Equal(t, storage.Processed, row.Status)
		require.Zero(t, row.Attempts)
	}
	mu.Lock()
	defer mu.Unlock()
	require.Zero(t, refused, "the provider never had to refuse")
	require.Empty(t, b.told.of(alert.SourcePaused))
}

// A paused source holds up no other, neither by its lanes nor by its streams: while
// another drains, nothing of it is read or fetched.
func TestPausedSourceSlowsNoOthers(t *testing.T) {
	t.Parallel()
	const events, slots = 100, 16
	quick := newAcme(nil)
	b := setup(t, func(o *worker.Options) {
		quick.def = o.Sources[0].Definition
		o.Sources = append(o.Sources, worker.Source{Name: "other", Definition: quick.def, Client: quick, Concurrency: slots})
	})
	var lanes []string
	for i := range 2 * slots {
		lanes = append(lanes, fmt.Sprint("lane", i))
	}
	goOn, waiting := b.hold("widget", lanes...)
	for _, id := range lanes {
		b.send("widget.sold", "widget", id)
	}
	b.start("w1")
	require.True(t, eventually(func() bool { return waiting.Load() == slots && b.logged("acme") == len(lanes) }))
	require.NoError(t, b.streams.Pause(b.ctx, "acme", 0, "by hand", "test"))
	require.True(t, eventually(func() bool { return b.metric("tarn_source_paused", "acme") == 1 }))

	stop := redistest.Monitor(t, b.redis)
	for i := range events {
		b.send("widget.sold", "widget", fmt.Sprint("w", i))
		b.sendFrom("other", fmt.Sprint("evt_other_", i), "widget.sold", "widget", fmt.Sprint("w", i))
	}
	require.True(t, eventually(func() bool {
		page, err := b.store.Events(b.ctx, storage.EventFilter{Source: "other", Status: storage.Processed, Limit: 200})
		return err == nil && len(page.Items) == events
	}), "the other source drains")
	reads := 0
	for _, c := range stop() {
		// A worker's scripts have a lease first, an append has not.
		if c[0] == "evalsha" && strings.HasSuffix(c[3], ":lease") && slices.ContainsFunc(c, ofStream("acme")) {
			reads++
		}
	}
	require.LessOrEqual(t, reads, 2*b.streams.Shards(), "reads of both tiers that had begun before the pause was seen, no more")
	require.Equal(t, len(lanes), b.logged("acme"))
	require.EqualValues(t, slots, waiting.Load())
	for i := range events {
		require.Zero(t, b.provider.fetches("widget", fmt.Sprint("w", i)))
	}

	goOn()
	require.NoError(t, b.streams.Resume(b.ctx, "acme"))
	b.empty()
	require.Empty(t, b.told.of(alert.SourcePaused), "the operator who paused it knows")
}

// ofStream returns whether a word of a command is the key of a stream of a source.
func ofStream(source string) func(word string) bool {
	return func(word string) bool {
		return strings.HasSuffix(word, ":live:"+source) || strings.HasSuffix(word, ":background:"+source)
	}
}

// logged is how many events of a source are in the log, 200 at most.
func (b *bundle) logged(source string) int {
	b.t.Helper()
	page, err := b.store.Events(b.ctx, storage.EventFilter{Source: source, Limit: 200})
	require.NoError(b.t, err)
	return len(page.Items)
}

// One alert is raised that a source is down, and another only after it was well.
func TestOneAlertForEachOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 3 {
		b.start(fmt.Sprint("w", i))
	}
	b.shared(3)
	b.provider.setProbe(fate.New(fate.Transient, errBoom))
	for i := range 20 {
		b.provider.on("widget", fmt.Sprint(i), func(context.Context, int) (string, error) { return ok, b.provider.probing() })
		b.send("widget.sold", "widget", fmt.Sprint(i))
	}
	require.True(t, eventually(func() bool {
		state, err := b.streams.Source(b.ctx, "acme")
		return err == nil && state.Strikes > 1
	}))
	require.True(t, eventually(func() bool { return len(b.told.of(alert.SourcePaused)) == 1 }))
	b.provider.setProbe(nil)
	b.empty()
	require.Len(t, b.told.of(alert.SourcePaused), 1)
	require.Equal(t, "source is down", b.told.of(alert.SourcePaused)[0]["class"])
	b.provider.setProbe(fate.New(fate.Transient, errBoom))
	for i := range 20 {
		b.send("widget.made", "widget", fmt.Sprint(i))
	}
	require.True(t, eventually(func() bool { return len(b.told.of(alert.SourcePaused)) == 2 }))
}

// shared waits until n workers are there, each with its fair share.
func (b *bundle) shared(n int) {
	b.t.Helper()
	require.True(b.t, eventually(func() bool {
		shards, workers, err := b.streams.Fleet(b.ctx, []string{"acme"})
		if err != nil || len(workers) != n {
			return false
		}
		fair := map[int]string{}
		for _, id := range workers {
			for _, n := range stream.FairShare(workers, b.streams.Shards(), id) {
				fair[n] = id
			}
		}
		for _, s := range shards {
			if s.Owner == "" || s.Owner != fair[s.Shard] {
				return false
			}
		}
		return true
	}), "shards are not shared out")
}

// An alert reaches the webhook from where it was raised, whole.
func TestAlertOfADeadLetterIsPosted(t *testing.T) {
	t.Parallel()
	got := make(chan map[string]string, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct{ Alerts []map[string]string }
		if err := json.NewDecoder(r.Body).Decode(&body); err == nil {
			for _, a := range body.Alerts {
				got <- a
			}
		}
	}))
	t.Cleanup(hook.Close)
	alerts := alert.New(alert.Options{Webhook: hook.URL, Gather: time.Millisecond, Logger: quiet()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); alerts.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })

	b := setup(t, func(o *worker.Options) { o.Alerts = alerts })
	b.provider.fails("widget", "w1", -1, fate.New(fate.Permanent, errBoom))
	b.start("w1")
	e := b.event("evt_1", "widget.sold", time.Now(), "widget", "w1")
	_, err := b.streams.Append(b.ctx, stream.Draft{Signal: event.Own(e, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")})
	require.NoError(t, err)
	a := <-got
	require.NotEmpty(t, a["at"])
	delete(a, "at")
	require.Equal(t, map[string]string{
		"kind": "dead_letter", "source": "acme", "id": storage.LetterID("evt_1", key("widget", "w1")), "event": "evt_1",
		"entity": "acme/widget/w1", "reason": "boom", "class": "permanent",
		"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
	}, a)
}

// A pause that began while no worker could raise an alert is alerted later, and once,
// however many workers follow.
func TestAPauseRaisesOneAlertSurely(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.streams.PauseAs(b.ctx, "acme", condition.NewPause(condition.PausedRefused, time.Hour, "401"), "reconciler"))
	begun := time.Now()
	require.True(t, eventually(func() bool { return time.Since(begun) > 2*b.options.LeaseTTL }))
	stop := b.start("w1")
	require.True(t, eventually(func() bool { return len(b.told.of(alert.SourcePaused)) == 1 }))
	stop()
	b.start("w2")
	require.True(t, eventually(func() bool { return b.metric("tarn_source_paused") == 1 && b.metric("tarn_leases_held") == 4 }))

	require.NoError(t, b.streams.PauseAs(b.ctx, "acme", condition.NewPause(condition.PausedMisconfigured, 0, "not found"), "w2"))
	require.True(t, eventually(func() bool { return len(b.told.of(alert.SourcePaused)) == 2 }), "now it wants hands")
	require.Contains(t, b.told.of(alert.SourcePaused)[1]["reason"], "misconfigured")
}

// Live events that keep every slot busy leave one to what else there is.
func TestSlotsAreLeftToLowerClasses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var begun atomic.Int32
	next := make(chan struct{})
	const slots, n = 16, 100
	for i := range n {
		b.provider.on("widget", fmt.Sprint(i), func(ctx context.Context, _ int) (string, error) {
			begun.Add(1)
			select {
			case <-next:
			case <-ctx.Done():
			}
			return ok, nil
		})
		b.send("widget.sold", "widget", fmt.Sprint(i))
	}
	b.start("w1")
	require.True(t, eventually(func() bool { return begun.Load() == slots }), "all slots are busy")
	b.signal(event.CauseSweep, "sweep_1", event.Ref{Key: key("widget", "swept")})
	swept := func() bool { return b.provider.fetches("widget", "swept") == 1 }
	// It may be read only after some of them have ended.
	for i := int32(1); i <= n/2 && !swept(); i++ {
		next <- struct{}{}
		require.True(t, eventually(func() bool { return begun.Load() == slots+i || swept() }))
	}
	require.True(t, swept(), "while live ones wait")
	close(next)
	b.empty()
}
