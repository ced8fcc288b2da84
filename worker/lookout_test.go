package worker

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Heartbeats bring the news of the sources, once for each time that these are due, and
// the lookout then asks for none itself.
func TestHeartbeatsBringTheNews(t *testing.T) {
	ctx, redis := t.Context(), redistest.Start(t)
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	streams, err := stream.Open(ctx, stream.Options{URLs: []string{redis.URL()}, Shards: 4, Logger: logger})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, streams.Close()) })
	w, err := New(Options{
		ID: "w1", Streams: streams, Store: struct{ storage.Store }{}, Sources: []Source{{Name: "acme"}},
		Metrics: telemetry.NewMetrics(prometheus.NewRegistry()), Health: telemetry.NewHealth(time.Now), Logger: logger,
	})
	require.NoError(t, err)
	const tick = 250 * time.Millisecond
	l := w.lookout
	require.Equal(t, []string{"acme"}, l.due(tick), "before the first")

	require.NoError(t, streams.Pause(ctx, "acme", 0, "by hand", "ops"))
	l.late.Stop()
	_, news, err := w.place.BeatAndRead(ctx, l.due(tick))
	require.NoError(t, err)
	l.see(news, time.Now())
	require.True(t, w.sources["acme"].paused())
	require.True(t, l.late.Stop(), "how late news are counts from the last")
	require.Empty(t, l.due(tick))
	require.Empty(t, l.due(tick/10))

	l.read = time.Now().Add(-stateEvery + tick/4)
	require.NotEmpty(t, l.due(tick), "the next tick would be late")
	require.Empty(t, l.due(tick/10), "a later one is in time")
	_, news, err = w.place.BeatAndRead(ctx, nil)
	require.NoError(t, err)
	was := l.read
	l.see(news, time.Now())
	require.Equal(t, was, l.read, "a heartbeat that brought none")
	require.False(t, l.late.Stop())
}
