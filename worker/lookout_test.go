package worker

import (
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// idleWorker returns a worker of 4 shards that does not run.
func idleWorker(t *testing.T, redis *redistest.Server) *Worker {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	streams, err := stream.Open(t.Context(), stream.Options{URLs: []string{redis.URL()}, Shards: 4, Logger: logger})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, streams.Close()) })
	w, err := New(Options{
		ID: "w1", Streams: streams, Store: struct{ storage.Store }{}, Sources: []Source{{Name: "acme"}},
		Metrics: telemetry.NewMetrics(prometheus.NewRegistry()), Health: telemetry.NewHealth(time.Now), Logger: logger,
	})
	require.NoError(t, err)
	return w
}

// Heartbeats bring the news of the sources, once for each time that these are due, and
// the lookout then asks for none itself.
func TestHeartbeatsBringTheNews(t *testing.T) {
	ctx, redis := t.Context(), redistest.Start(t)
	w := idleWorker(t, redis)
	streams := w.Streams
	const tick = 250 * time.Millisecond
	l := w.lookout
	require.Equal(t, []string{"acme"}, l.due(tick), "before the first")

	require.NoError(t, streams.Pause(ctx, "acme", 0, "by hand", "ops"))
	l.late.Stop()
	_, news, err := w.place.BeatAndRead(ctx, l.due(tick))
	require.NoError(t, err)
	begun := time.Now()
	l.see(news, begun)
	require.True(t, w.sources["acme"].paused())
	require.True(t, l.late.Stop(), "how late news are counts from the last")
	require.False(t, l.read.Before(begun))

	synctest.Test(t, func(t *testing.T) { // in which no time passes
		l.read = time.Now()
		require.Empty(t, l.due(tick))
		require.Empty(t, l.due(tick/10))

		l.read = time.Now().Add(-stateEvery + tick/4)
		require.NotEmpty(t, l.due(tick), "the next tick would be late")
		require.Empty(t, l.due(tick/10), "a later one is in time")
	})
	_, news, err = w.place.BeatAndRead(ctx, nil)
	require.NoError(t, err)
	was := l.read
	l.see(news, time.Now())
	require.Equal(t, was, l.read, "a heartbeat that brought none")
	require.False(t, l.late.Stop())
}

// What operators had retried before the first news, and after a shard asked what is
// due, is heard of with these news.
func TestTheFirstNewsTellOfARetry(t *testing.T) {
	ctx, redis := t.Context(), redistest.Start(t)
	w := idleWorker(t, redis)
	lease, err := w.Streams.Acquire(ctx, 0, "w1", w.names)
	require.NoError(t, err)
	w.shards[0] = newShard(ctx, w, lease)
	_, err = lease.Due(ctx, stream.DueOf{Source: "acme", Most: 1})
	require.NoError(t, err)
	asks := func() bool { return !lease.NextDue("acme").After(time.Now()) }
	require.False(t, asks(), "nothing is parked")

	_, err = w.Streams.RetryParked(ctx, "acme")
	require.NoError(t, err)
	news, err := w.Streams.Sources(ctx, w.names)
	require.NoError(t, err)
	w.lookout.see(news, time.Now())
	require.True(t, asks())

	_, err = lease.Due(ctx, stream.DueOf{Source: "acme", Most: 1})
	require.NoError(t, err)
	w.lookout.see(news, time.Now())
	require.False(t, asks(), "the same news again")
}
