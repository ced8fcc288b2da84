package worker_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream"
)

// What is parked is in Redis alone: a hundred thousand entities cost a worker
// less than 100 MB, while they wait, while all of them are due at once, and
// when more comes for them.
func TestParkedEntitiesCostNoMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: parks 100,000 entities")
	}
	const entities, bound = 100_000, 100 << 20
	b := setup(t)
	b.parkMany(entities)
	before := heap()
	b.start("w1")
	require.True(t, eventually(func() bool { return b.metric("tarn_parked_entities", "acme") == entities }))
	waiting := heap()
	require.Less(t, waiting, before+bound)

	// More comes for some of them: it is moved behind them.
	b.appendMany(entities / 50)
	require.True(t, eventually(func() bool { return b.backlog() == 0 }))
	behind := heap()
	require.Less(t, behind, before+bound)

	// All are due at once.
	_, err := b.streams.RetryParked(b.ctx, "acme")
	require.NoError(t, err)
	require.True(t, eventually(func() bool { return b.metric("tarn_fetches_total") >= 300 }))
	due := heap()
	require.Less(t, due, before+bound)
	mb := func(n uint64) float64 { return float64(int64(n)-int64(before)) / (1 << 20) }
	t.Logf("heap of a worker over that without %d parked entities: %+.1f MB waiting, %+.1f MB after more came, %+.1f MB while all are due",
		entities, mb(waiting), mb(behind), mb(due))
}

// heap is how much of it is in use after a collection, in bytes.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// parkedID names entities so that all names are of one length.
func parkedID(i int) string { return fmt.Sprintf("p%06d", i) }

// appendMany appends a background signal for each of n entities.
func (b *bundle) appendMany(n int) {
	b.t.Helper()
	for from := 0; from < n; from += 1000 {
		drafts := make([]stream.Draft, 0, 1000)
		for i := from; i < min(from+1000, n); i++ {
			drafts = append(drafts, stream.Draft{Signal: sweepOf(parkedID(i))})
		}
		_, err := b.streams.AppendAll(b.ctx, drafts)
		require.NoError(b.t, err)
	}
}

func sweepOf(id string) event.Signal {
	return event.Signal{Ref: event.Ref{Key: key("widget", id)}, Cause: event.CauseSweep, CauseID: "task_1", Class: event.Backfill}
}

// likeOne makes entities parked like one that is: whatever a key or a member of
// one names it by, there is another of.
var likeOne = redis.NewScript(`
local one = ARGV[1]
for _, key in ipairs(redis.call('KEYS', ARGV[2])) do
  local typ, named = redis.call('TYPE', key).ok, string.find(key, one, 1, true)
  local score = typ == 'zset' and redis.call('ZSCORE', key, 'acme/widget/' .. one)
  local all = typ == 'list' and redis.call('LRANGE', key, 0, -1) or typ == 'hash' and redis.call('HGETALL', key) or {}
  for i = 3, (score or named) and #ARGV or 0 do
    local function renamed(s) return (string.gsub(s, one, ARGV[i])) end
    if score then
      redis.call('ZADD', key, score, 'acme/widget/' .. ARGV[i])
    elseif named and typ == 'list' then
      for _, v in ipairs(all) do redis.call('RPUSH', renamed(key), renamed(v)) end
    elseif named and typ == 'hash' then
      for j = 1, #all, 2 do redis.call('HSET', renamed(key), all[j], renamed(all[j + 1])) end
    end
  end
end`)

// parkMany parks n entities for an hour: one of each shard as a worker whose
// fetch of it failed, the others like it.
func (b *bundle) parkMany(n int) {
	b.t.Helper()
	of := map[int][]any{}
	for i := range n {
		shard := key("widget", parkedID(i)).Shard(b.streams.Shards())
		of[shard] = append(of[shard], parkedID(i))
	}
	for shard, ids := range of {
		one := ids[0].(string)
		_, err := b.streams.Append(b.ctx, stream.Draft{Signal: sweepOf(one)})
		require.NoError(b.t, err)
		lease, err := b.streams.Acquire(b.ctx, shard, "parker", []string{"acme"})
		require.NoError(b.t, err)
		_, err = lease.TakeOver(b.ctx, "acme", event.TierBackground, func([]event.Entry) error { return nil })
		require.NoError(b.t, err)
		batch, err := lease.Read(b.ctx, "acme", event.TierBackground, stream.Limits{Count: 10})
		require.NoError(b.t, err)
		require.Len(b.t, batch, 1)
		require.NoError(b.t, lease.Park(b.ctx, stream.Park{
			Key: key("widget", one), Charged: batch, Attempt: 1, Delay: time.Hour, Earliest: time.Hour,
			State: []byte(`{"attempts":[{"n":1,"at":"2026-03-01T12:00:00Z","error":"HTTP 500: provider failed"}]}`),
		}))
		require.NoError(b.t, lease.Release(b.ctx))
		for page := range slices.Chunk(ids[1:], 10_000) {
			args := append([]any{one, fmt.Sprintf("{tarn:%d}*", shard)}, page...)
			require.ErrorIs(b.t, likeOne.Run(b.ctx, b.redis.Client(), nil, args...).Err(), redis.Nil)
		}
	}
}

// backlog is how many entries wait in the streams.
func (b *bundle) backlog() (n int64) {
	b.t.Helper()
	shards, _, err := b.streams.Fleet(b.ctx, []string{"acme"})
	require.NoError(b.t, err)
	for _, s := range shards {
		n += s.Sources["acme"].Live + s.Sources["acme"].Background
	}
	return n
}
