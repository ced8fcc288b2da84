package worker

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// A worker waits for a shard that is handed over to it. Redis is emptied after a
// heartbeat that found nothing amiss, so the lease is free before its holder has ended.
func TestNoShardIsTakenFromARedisEmptiedJustBefore(t *testing.T) {
	ctx, redis := t.Context(), redistest.Start(t)
	streams, err := stream.Open(ctx, stream.Options{URLs: []string{redis.URL()}, Shards: 4, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, streams.Close()) })
	w, err := New(Options{
		ID: "w1", Streams: streams, Store: struct{ storage.Store }{}, Sources: []Source{{Name: "acme"}},
		Metrics: telemetry.NewMetrics(prometheus.NewRegistry()), Health: telemetry.NewHealth(time.Now), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	live, err := w.place.Beat(ctx)
	require.NoError(t, err)
	redis.FlushAll()

	var handing sync.WaitGroup
	w.balance(ctx, ctx, live, &handing)
	handing.Wait()
	require.Empty(t, w.held())
	shards, _, err := streams.Fleet(ctx, nil)
	require.NoError(t, err)
	for _, s := range shards {
		require.Empty(t, s.Owner)
	}
}
