package proof

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// disorder is how webhooks may arrive: twice, late, out of order.
var disorder = simulator.Chaos{Duplicate: 0.1, Reorder: 0.3, MaxDelay: simulator.Duration(time.Second)}

// 20,000 events over 500 entities, a tenth sent twice, a third out of order,
// through an api and two workers: all logged once and processed, the mirror
// true, the order kept.
func TestTwentyThousandEvents(t *testing.T) {
	s := start(t, fleet.Plan{Workers: 2})
	require.NoError(t, s.Simulator.Chaos(s.ctx, disorder))
	began := time.Now()
	s.load(simulator.Load{Entities: 500, Accounts: 50, Events: 20_000, Rate: 2_000}, 10*time.Minute)
	t.Logf("20,000 events over 500 entities settled %s after the first was made", time.Since(began).Round(time.Millisecond))
	s.prove(20_000, 500)
	for _, w := range s.Members(fleet.Worker) {
		require.NoError(t, w.Stop())
	}
}

// The same of Stripe: subscriptions and invoices with more elements than their GET
// shows, deleted products, and events of test mode, which are kept and followed by
// nothing.
func TestEventsOfStripe(t *testing.T) {
	t.Parallel()
	const events, entities = 3_000, 200
	s := start(t, fleet.Plan{Provider: simulator.Stripe, Workers: 2})
	wild := disorder
	wild.TestMode = 0.05
	require.NoError(t, s.Simulator.Chaos(s.ctx, wild))
	s.load(simulator.Load{Entities: entities, Events: events, Rate: 1_000}, 10*time.Minute)
	live, unmet := 0, 0
	for _, row := range s.rows() {
		if row.Note == event.RequireUnmet {
			unmet++
			require.Empty(t, row.Entities)
			continue
		}
		live++
		require.Zero(t, row.Note, row.Type)
	}
	require.Equal(t, events, live)
	require.Positive(t, unmet)
	s.prove(events+unmet, entities)
	dead, err := s.Letters(s.ctx, storage.LetterOpen)
	require.NoError(t, err)
	require.Zero(t, dead)
	s.provesLists()
}

// Thin events have no data. The log has them under the ids of their snapshot twins.
func TestThinEventsOfStripe(t *testing.T) {
	t.Parallel()
	s := start(t, fleet.Plan{Provider: simulator.Stripe, Workers: 1, Simulator: []string{"--thin"}})
	require.NoError(t, s.Simulator.Chaos(s.ctx, disorder))
	s.load(simulator.Load{Entities: 60, Events: 500, Rate: 500}, 5*time.Minute)
	s.prove(500, 60)
	for _, row := range s.rows() {
		require.False(t, row.CreatedAt.IsZero())
		require.Contains(t, string(row.Payload), `"object":"v2.core.event"`)
	}
}

// provesLists wants lists in the mirror that have more elements than a GET shows.
func (s *subject) provesLists() {
	s.t.Helper()
	for kind, inside := range map[string]string{"subscription": "items", "invoice": "lines"} {
		page, err := s.Store.Entities(s.ctx, storage.EntityFilter{Source: fleet.Source, Kind: kind, Limit: 200})
		require.NoError(s.t, err)
		longest := 0
		for _, doc := range page.Items {
			var members map[string]json.RawMessage
			require.NoError(s.t, json.Unmarshal(doc.Raw, &members))
			var list struct{ Data []json.RawMessage }
			require.NoError(s.t, json.Unmarshal(members[inside], &list))
			longest = max(longest, len(list.Data))
		}
		require.Greater(s.t, longest, 10, kind)
	}
}

// The negative control: without leases and lanes, which is a plain consumer
// group with a lock per entity, the same check must find inversions.
func TestWithoutLeasesAndLanesOrderIsLost(t *testing.T) {
	t.Parallel()
	s := start(t, fleet.Plan{Workers: 2, Shards: 8, Faults: map[string]string{fleet.Worker: "leases-off,lanes-off"}})
	require.NoError(t, s.Simulator.Chaos(s.ctx, simulator.Chaos{Latency: simulator.Duration(5 * time.Millisecond)}))
	require.NoError(t, s.Simulator.Load(s.ctx, simulator.Load{Entities: 20, Accounts: 4, Events: 2_000, Rate: 1_000}, 5*time.Minute))
	var found []string
	s.wait("the check cannot see what it is there for", func() bool {
		found = fleet.Inversions(s.rows())
		return len(found) > 0
	})
	t.Logf("%d inversions without leases and lanes", len(found))
}

// The same on MongoDB's wire protocol. make e2e-mongo does it with more events.
func TestEventsOnMongoDB(t *testing.T) {
	t.Parallel()
	eventsOnMongoDB(t, 300, 50)
}

// eventsOnMongoDB settles events at a gentle rate: the server is FerretDB, one command at
// a time, which scans the collection for every query that is not by id.
func eventsOnMongoDB(t *testing.T, events, entities int) {
	t.Helper()
	began := time.Now()
	s := start(t, fleet.Plan{MongoDB: true, Workers: 2, Shards: 16})
	require.NoError(t, s.Simulator.Chaos(s.ctx, disorder))
	s.load(simulator.Load{Entities: entities, Accounts: entities / 5, Events: events, Rate: 20}, 15*time.Minute)
	t.Logf("%d events over %d entities settled in %s", events, entities, time.Since(began).Round(time.Second))
	s.prove(events, entities)
}
