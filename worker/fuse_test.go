package worker_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// nothingIsSent looks for a while that nothing comes to the provider, and that the command
// stays as it is.
func (s *market) nothingIsSent(c *storage.Command) {
	s.t.Helper()
	require.False(s.t, within(2*time.Second, func() bool { return len(s.sim.Writes()) > 0 }))
	now, err := s.store.Commands().Command(s.ctx, c.ID)
	require.NoError(s.t, err)
	require.Equal(s.t, storage.CommandQueued, now.State)
	require.Empty(s.t, now.Attempts)
}

// What is held is not begun, nor is what is asked for meanwhile. Once released it is done.
func TestHeldCommandsAreNotBegun(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	before := s.ask("product", "create", "~p", `{"name":"p"}`)
	require.NoError(t, s.store.Commands().Hold(s.ctx, storage.CommandHold{Source: "acme", Since: time.Now(), Reason: "restored"}))
	s.start("w1")
	meanwhile := s.ask("product", "create", "~q", `{"name":"q"}`)
	s.nothingIsSent(before)
	s.nothingIsSent(meanwhile)
	_, err := s.store.Commands().Release(s.ctx, "acme")
	require.NoError(t, err)
	s.done(before)
	s.done(meanwhile)
}

// While the database lacks what Redis knows of the change feed, nothing is begun: it was
// restored from an older copy, and no sequencer has held its commands yet.
func TestNothingIsBegunOnAnOlderCopyOfTheDatabase(t *testing.T) {
	t.Parallel()
	s := openMarket(t, simulator.Stripe)
	tell := func(h stream.FeedHead) {
		task, err := s.streams.Task(s.ctx, stream.FeedTask+"/acme", "sequencer")
		require.NoError(t, err)
		require.NoError(t, task.TellFeed(s.ctx, h))
	}
	tell(stream.FeedHead{Gen: "GEN", Position: 7, Tag: "TAG"})
	c := s.ask("product", "create", "~p", `{"name":"p"}`)
	s.start("w1")
	s.nothingIsSent(c)

	w := feed.NewWriter(s.store, "acme", time.Now)
	_, err := w.Begun(s.ctx)
	require.NoError(t, err)
	_, err = w.Begin(s.ctx, feed.Restored)
	require.NoError(t, err)
	s.nothingIsSent(c)
	tell(stream.FeedHead(w.Known()))
	s.done(c)
}
