package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/worker"
)

// What operators have retried is retried at once, though no shard asks what is due.
func TestRetryParkedIsHeardOf(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Retry.First = time.Hour })
	b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	id := b.send("widget.sold", "widget", "w1")
	b.row(id, storage.Retrying)
	begun := time.Now()
	require.True(t, eventually(func() bool { // once it is parked
		n, err := b.streams.RetryParked(b.ctx, "acme")
		return err == nil && n == 1
	}))
	b.row(id, storage.Processed)
	require.Less(t, time.Since(begun), 12*time.Second, "without the news the due times are looked at after 15 s")
}

// behindProxy has workers reach Redis through a proxy from now on. The test itself does
// not.
func (b *bundle) behindProxy() *redistest.Proxy {
	b.t.Helper()
	proxy := redistest.NewProxy(b.t, b.redis)
	streams, err := stream.Open(b.ctx, stream.Options{URLs: []string{proxy.URL()}, Shards: 4, LeaseTTL: leaseTTL, Logger: quiet()})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = streams.Close() })
	b.options.Streams = streams
	return proxy
}

// waiting returns whether n shards wait for new entries in Redis.
func (b *bundle) waiting(n int) func() bool {
	c := b.redis.Client()
	return func() bool {
		return strings.Contains(c.Info(b.ctx, "clients").Val(), fmt.Sprintf("blocked_clients:%d\r", n))
	}
}

// An idle worker whose connections to Redis were cut off, without a word, waits on new
// ones soon.
func TestIdleWorkerOutlastsASilentCut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	proxy := b.behindProxy()
	b.start("w1")
	require.True(t, eventually(b.waiting(4)))
	proxy.Stall("evalsha") // what a connection answers next never comes, nor anything after it
	require.True(t, eventually(b.waiting(0)), "the waits end with the leases")
	proxy.Stall("nothing any more")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed) // a wait that went on would last minutes
}

// A replica is promoted between two renewals: it has the leases, lacks the last entries
// and numbers those to come below them, so the waits that go on would not end by these.
// A renewal that was not confirmed has the streams read again.
func TestPromotedReplicaWithinALeasesTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	proxy := b.behindProxy()
	b.start("w1")
	c := b.redis.Client()
	waits := b.waiting(4)
	require.True(t, eventually(waits))

	// The replica has no more than this. What comes then is numbered as by a clock that
	// is ahead.
	replica := map[string]string{}
	for shard := range 4 {
		key := fmt.Sprintf("{tarn:%d}:live:acme", shard)
		replica[key] = c.Dump(b.ctx, key).Val()
		require.NoError(t, c.Do(b.ctx, "XSETID", key, fmt.Sprint(time.Now().Add(time.Hour).UnixMilli(), "-1")).Err())
	}
	send := func() {
		for i := range 4 {
			b.row(b.send("widget.sold", "widget", fmt.Sprint("w", i)), storage.Processed)
		}
	}
	send()
	b.empty()
	require.True(t, eventually(waits))
	for key, had := range replica {
		require.NoError(t, c.RestoreReplace(b.ctx, key, 0, had).Err())
	}
	require.True(t, waits(), "the promotion itself ends no wait")

	for shard := range 4 { // what is lost may be of one shard alone
		<-proxy.LoseReply(fmt.Sprintf("{tarn:%d}:lease", shard))
	}
	send() // to the same shards
	require.Zero(t, b.metric("tarn_leases_lost_total"))
}
