package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/worker"
)

// A worker that has just started asks a provider for nothing before it knows whether the
// source is paused, however long it takes to find out.
func TestNothingIsAskedBeforeThePauseIsKnown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	proxy := redistest.NewProxy(t, b.redis)
	streams, err := stream.Open(b.ctx, stream.Options{URLs: []string{proxy.URL()}, Shards: 4, LeaseTTL: 2 * time.Second, Logger: quiet()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = streams.Close() })
	b.options.Streams = streams
	require.NoError(t, b.streams.Pause(b.ctx, "acme", 0, "by hand", "test"))
	b.send("widget.sold", "widget", "w1")

	stalled := proxy.Stall("{tarn}:retried") // the first look at the states is never answered
	b.start("w1")
	<-stalled
	proxy.Stall("nothing any more")
	require.True(t, eventually(func() bool { return b.metric("tarn_source_paused") == 1 }))
	require.Zero(t, b.provider.fetches("widget", "w1"))

	require.NoError(t, b.streams.Resume(b.ctx, "acme"))
	b.empty()
	require.Equal(t, 1, b.provider.fetches("widget", "w1"))
}

// Keys of one source that another program wrote keep no other source from being paused,
// and none of its parked entities from being retried.
func TestBrokenKeysOfASourceCostNoOther(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) {
		broken := o.Sources[0]
		broken.Name = "broken"
		o.Sources = append([]worker.Source{broken}, o.Sources...)
	})
	c := b.redis.Client()
	for shard := range b.streams.Shards() {
		require.NoError(t, c.Set(b.ctx, fmt.Sprintf("{tarn:%d}:due:broken", shard), "oops", 0).Err())
	}
	require.NoError(t, c.Set(b.ctx, "{tarn}:source:broken", "oops", 0).Err())
	b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	require.Equal(t, 2, b.provider.fetches("widget", "w1"))
	require.NoError(t, b.streams.Pause(b.ctx, "acme", 0, "by hand", "test"))
	require.True(t, eventually(func() bool { return b.metric("tarn_source_paused", "acme") == 1 }))
}
