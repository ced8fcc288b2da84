package proof

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
)

// A fleet gets more shards by the steps of the guide, while the provider goes on sending and an
// entity is parked: nothing is lost or out of order.
func TestMoreShards(t *testing.T) {
	t.Parallel()
	const events, entities = 1_200, 40
	s := start(t, fleet.Plan{
		Workers: 2, Reconcilers: 1, Shards: 2, Attempts: 1_000, // more than are made meanwhile
		Reconcile: "{gaps: {every: 5s, overlap: 2m}, recover: {every: 2s, after: 2s}}",
	})
	require.NoError(t, s.Simulator.Chaos(s.ctx, disorder))
	require.NoError(t, s.Simulator.StartLoad(s.ctx, simulator.Load{Entities: entities, Events: events, Rate: 40}))
	broken := ""
	s.wait("there is an order", func() bool {
		truth, err := s.Simulator.Truth(s.ctx)
		require.NoError(t, err)
		orders := slices.DeleteFunc(slices.Sorted(maps.Keys(truth)), func(k string) bool { return !strings.HasPrefix(k, "order/") })
		if len(orders) > 0 {
			broken = orders[0]
		}
		return broken != ""
	})
	failing := disorder
	failing.Entities = map[string]int{broken: http.StatusServiceUnavailable}
	require.NoError(t, s.Simulator.Chaos(s.ctx, failing))
	left := func(what string, is func(fleet.Left) bool) {
		t.Helper()
		s.wait(what, func() bool { l, err := s.Left(s.ctx); require.NoError(t, err); return is(l) })
	}
	parked := func(l fleet.Left) bool { return l.Parked > 0 }
	left("the order is parked", parked)

	s.Shut()
	for _, m := range s.Members(fleet.Reconciler) {
		require.NoError(t, m.Stop())
	}
	left("what was accepted is settled or parked", func(l fleet.Left) bool { return l.Live+l.Background == l.HeldBack && parked(l) })
	for _, program := range []string{fleet.Worker, fleet.API} {
		for _, m := range s.Members(program) {
			require.NoError(t, m.Stop())
		}
	}
	require.NoError(t, s.Move(s.ctx, "tarn-6", 6))
	workers := s.Members(fleet.Worker)
	require.NoError(t, workers[0].Start())
	<-workers[0].Ended()
	require.Contains(t, workers[0].LastWords(), "--adopt")
	require.NoError(t, workers[0].Adopt())
	require.NoError(t, workers[0].WaitReady(s.ctx, time.Minute))
	require.NoError(t, workers[0].Stop())
	for _, m := range s.Members("") {
		require.NoError(t, m.Start())
		require.NoError(t, m.WaitReady(s.ctx, time.Minute))
	}
	s.Open()

	left("the order is parked again", parked)
	require.NoError(t, s.Simulator.Chaos(s.ctx, disorder))
	require.NoError(t, s.Simulator.WaitSent(s.ctx, 5*time.Minute))
	require.NoError(t, s.Drain(s.ctx, 5*time.Minute))
	s.settled(events, entities) // an event that the reconciler found first is a duplicate once it is delivered
}
