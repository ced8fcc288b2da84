package worker_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/worker"
)

// However many shards have a backlog, only so many entries are read and not yet logged
// at a time: here 64, the least a worker allows.
func TestWhatAllShardsReadAtOnceIsBounded(t *testing.T) {
	t.Parallel()
	const events, bound = 800, 64
	b := setup(t, func(o *worker.Options) { o.InFlight = 5 * bound })
	log := make(chan struct{})
	b.store.held = map[string]chan struct{}{"log": log}
	for i := range events {
		b.send("widget.sold", "widget", fmt.Sprint("w", i))
	}
	b.start("w1")
	require.True(t, eventually(func() bool { return b.metric("tarn_leases_held") == 4 && b.store.count("log") > 0 }))
	require.LessOrEqual(t, b.delivered(), int64(bound))
	close(log)
	b.empty()
	require.Len(t, b.rows(), events)
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	require.LessOrEqual(t, b.store.mostLogging, bound)
	require.Greater(t, b.store.mostLogging, 1, "they are read in batches")
}

// A shard that finds less than it might have read leaves the rest of the room to
// others: a write of the log that takes long holds up no other shard.
func TestRoomThatIsNotNeededIsLeftToOthers(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.InFlight = 320 })
	log := make(chan struct{})
	b.store.held = map[string]chan struct{}{"log": log}
	shards := map[int]string{}
	for i := 0; len(shards) < 4; i++ {
		w := fmt.Sprint("w", i)
		shards[key("widget", w).Shard(4)] = w
	}
	for _, w := range shards {
		b.send("widget.sold", "widget", w)
	}
	b.start("w1")
	require.True(t, eventually(func() bool { return b.store.count("log") == 4 }), "each shard logs its event")
	close(log)
	b.empty()
}

// delivered is how many live entries are read and not acked.
func (b *bundle) delivered() (n int64) {
	b.t.Helper()
	for shard := range b.streams.Shards() {
		groups, err := b.redis.Client().XInfoGroups(b.ctx, fmt.Sprintf("{tarn:%d}:live:acme", shard)).Result()
		require.NoError(b.t, err)
		for _, g := range groups {
			n += g.Pending
		}
	}
	return n
}
