package worker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// awayOnce is a store that is away for the first settlement.
type awayOnce struct {
	storage.Store
	meanwhile func()
	settled   [][]storage.Settlement
}

func (s *awayOnce) Settle(_ context.Context, list []storage.Settlement) error {
	if s.settled = append(s.settled, list); len(s.settled) == 1 {
		s.meanwhile()
		return fate.Errorf(fate.Unavailable, "away")
	}
	return nil
}

// What waits for the store is not written once its shard is lost: the next owner
// may have settled it by a later claim.
func TestSettlementsOfALostShardAreNotTriedAgain(t *testing.T) {
	t.Parallel()
	streams, err := stream.Open(t.Context(), stream.Options{URLs: []string{redistest.Start(t).URL()}, Shards: 2, LeaseTTL: time.Minute, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, streams.Close()) })
	store := &awayOnce{}
	w := &Worker{Options: Options{Streams: streams, Store: store, Metrics: telemetry.NewMetrics(prometheus.NewRegistry()), Logger: slog.New(slog.DiscardHandler), Health: telemetry.NewHealth(time.Now)}}
	w.sparing = w.Logger
	w.storeRetry = storeRetry(w.Options, w.Logger)
	var shards []*shard
	var after []int
	settler := newSettler(w)
	for n := range 2 {
		lease, err := streams.Acquire(t.Context(), n, "w1", []string{"acme"})
		require.NoError(t, err)
		s := newShard(t.Context(), w, lease)
		shards = append(shards, s)
	}
	batch := make([]settled, 2)
	for n, s := range shards {
		batch[n] = settled{
			shard: s, key: event.Key{Source: "acme"}, list: []storage.Settlement{{EventID: []string{"lost", "held"}[n]}},
			after: func() { after = append(after, n) },
		}
	}
	store.meanwhile = func() { shards[0].cancel(stream.ErrFenced) }
	settler.settle(t.Context(), w.Health.Loop("settler"), batch)
	require.Len(t, store.settled, 2)
	require.Len(t, store.settled[0], 2)
	require.Equal(t, []storage.Settlement{{EventID: "held"}}, store.settled[1])
	require.Equal(t, []int{1}, after)
}
