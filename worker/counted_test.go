package worker_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// A stream whose consumer group is gone is read again from its pending list, which is
// counted.
func TestPendingListsThatAreTakenAgainAreCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	require.True(t, eventually(b.waiting(4)))
	require.Zero(t, b.metric("tarn_resyncs_total"))
	for shard := range 4 {
		key := fmt.Sprintf("{tarn:%d}:live:acme", shard)
		for _, g := range b.redis.Client().XInfoGroups(b.ctx, key).Val() {
			require.NoError(t, b.redis.Client().XGroupDestroy(b.ctx, key, g.Name).Err())
		}
	}
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	require.True(t, eventually(func() bool { return b.metric("tarn_resyncs_total") > 0 }))
}

// A call of the store that times out again and again is reported, and counts as held
// meanwhile.
func TestTimeoutsOfTheStoreAreCounted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	b.store.breakWith(fate.New(fate.Unavailable, storage.ErrTimeout))
	id := b.send("widget.sold", "widget", "w1")
	require.True(t, eventually(func() bool { return b.metric("tarn_store_timeouts_reported_total") > 0 }))
	require.True(t, eventually(func() bool { return b.metric("tarn_held_calls", "store") > 0 }))
	b.store.breakWith(nil)
	b.row(id, storage.Processed)
}

// What only the fleet's measurement knows is exported, also that Redis has room.
func TestTheFleetIsMeasured(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	require.True(t, eventually(func() bool { return b.metric("tarn_redis_memory_used_bytes") > 0 && b.metric("tarn_workers") == 1 }))
	require.True(t, eventually(func() bool { return b.metric("tarn_unowned_shards") == 0 && b.metric("tarn_stalled_shards") == 0 }))
	require.Zero(t, b.metric("tarn_shard_backlog_entries"), "series of shards are off")
}
