package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/worker"
)

// setBack is how far these tests set Redis' clock back.
const setBack = -2 * time.Hour

// A source that is paused and an entity that is parked when Redis' clock is set
// back go on when they would have.
func TestClockSetBackStopsNoSource(t *testing.T) {
	t.Parallel()
	server, clock := redistest.StartWithClock(t)
	b := setupOn(t, []string{server.URL()}, func(o *worker.Options) { o.Retry.First = 10 * time.Second })
	b.provider.fails("widget", "parked", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	parked := b.send("widget.sold", "widget", "parked")
	b.row(parked, storage.Retrying)
	require.NoError(t, b.streams.Pause(b.ctx, "acme", 10*time.Second, "throttled: 429", "test"))
	require.True(t, eventually(func() bool { return b.metric("tarn_source_paused", "acme") == 1 }))
	clock.Set(setBack)
	b.row(b.send("widget.sold", "widget", "waits"), storage.Processed)
	b.row(parked, storage.Processed)
	b.empty()
}

// A worker that is killed while Redis' clock goes back is missed: its shards and
// its entries in flight are taken over.
func TestWorkerKilledWhileTheClockIsSetBackIsReplaced(t *testing.T) {
	t.Parallel()
	server, clock := redistest.StartWithClock(t)
	b := setupOn(t, []string{server.URL()})
	b.start("w1")
	require.True(t, eventually(func() bool {
		shards, _, err := b.streams.Fleet(b.ctx, nil)
		return err == nil && ownedBy(shards, "w1") == 4
	}))
	// Another that joins, gets a shard from w1, reads what is there and is killed:
	// nothing is released, and nothing renewed.
	var taken *stream.Lease
	require.True(t, eventually(func() bool {
		live, err := b.streams.Member("killed").Beat(b.ctx)
		require.NoError(t, err)
		for _, shard := range stream.FairShare(live, 4, "killed") {
			lease, err := b.streams.Acquire(b.ctx, shard, "killed", []string{"acme"})
			if err == nil {
				taken = lease
			} else {
				require.ErrorIs(t, err, stream.ErrHeld)
			}
		}
		return taken != nil
	}))
	var ids []string
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		ids = append(ids, b.send("widget.sold", "widget", id))
	}
	_, err := taken.TakeOver(b.ctx, "acme", event.TierLive, func([]event.Entry) error { return nil })
	require.NoError(t, err)
	_, err = taken.Read(b.ctx, "acme", event.TierLive, stream.Limits{})
	require.NoError(t, err)
	clock.Set(setBack)
	for _, id := range ids {
		b.row(id, storage.Processed)
	}
	shards, workers, err := b.streams.Fleet(b.ctx, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"w1"}, workers)
	require.Equal(t, 4, ownedBy(shards, "w1"))
}

func ownedBy(shards []stream.ShardState, worker string) (n int) {
	for _, s := range shards {
		if s.Owner == worker {
			n++
		}
	}
	return n
}
