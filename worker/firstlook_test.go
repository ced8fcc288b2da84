package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
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

	proxy.Stall("{tarn}:retried") // the states of the sources
	b.start("w1")
	require.True(t, eventually(func() bool {
		shards, _, err := b.streams.Fleet(b.ctx, nil)
		return err == nil && ownedBy(shards, "w1") == b.streams.Shards()
	}))
	proxy.Stall("nothing any more")
	require.True(t, eventually(func() bool { return b.metric("tarn_source_paused") == 1 }))
	require.Zero(t, b.provider.fetches("widget", "w1"))

	require.NoError(t, b.streams.Resume(b.ctx, "acme"))
	b.empty()
	require.Equal(t, 1, b.provider.fetches("widget", "w1"))
}
