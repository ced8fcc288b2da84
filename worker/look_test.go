package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Where no heartbeat brings news of the sources, they are read by themselves.
func TestNewsBetweenDistantHeartbeats(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.options.LeaseTTL = 20 * time.Hour // a heartbeat an hour
	b.start("w1")
	paused := func(n float64) func() bool {
		return func() bool { return b.metric("tarn_source_paused") == n }
	}
	require.NoError(t, b.streams.Pause(b.ctx, "acme", 0, "by hand", "ops"))
	require.True(t, eventually(paused(1)))
	require.NoError(t, b.streams.Resume(b.ctx, "acme"))
	require.True(t, eventually(paused(0)))
}
