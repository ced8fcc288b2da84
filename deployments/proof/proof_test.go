package proof

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
)

// disorder is what a sender may do that we promise to bear.
var disorder = map[string]any{"duplicate": 0.1, "reorder": 0.3, "max_delay": "1s"}

// 20,000 events over 500 entities, a tenth sent twice, a third out of order,
// through an api and two workers: all logged once and processed, the mirror
// true, the order kept.
func TestTwentyThousandEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute of processes")
	}
	f := start(t, plan{workers: 2, shards: 64})
	f.tell("PUT", "/_sim/chaos", disorder, nil)
	began := time.Now()
	f.load(500, 50, 20_000, 2_000, 2*time.Minute)
	f.drain(2 * time.Minute)
	t.Logf("20,000 events over 500 entities settled %s after the first was made", time.Since(began).Round(time.Millisecond))
	f.prove(20_000, 500)
	for _, w := range f.workers {
		w.stop()
	}
}

// The negative control: without leases and lanes, which is a plain consumer
// group with a lock per entity, the same check must find inversions.
func TestWithoutLeasesAndLanesOrderIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute of processes")
	}
	f := start(t, plan{workers: 2, shards: 8, faults: "leases-off,lanes-off"})
	f.tell("PUT", "/_sim/chaos", map[string]any{"latency": "5ms"}, nil)
	f.load(20, 4, 2_000, 1_000, time.Minute)
	f.drain(time.Minute)
	found := inversions(f.rows())
	t.Logf("%d inversions without leases and lanes", len(found))
	require.NotEmpty(t, found, "the check cannot see what it is there for")
}

// prove wants every event logged once and processed, the mirror true, order kept
// and duplicates counted.
func (f *fleet) prove(events, entities int) {
	f.t.Helper()
	rows := f.rows()
	require.Len(f.t, rows, events)
	require.Empty(f.t, unprocessed(rows))
	require.Empty(f.t, f.untrue(entities))
	require.Empty(f.t, inversions(rows))
	f.countDuplicates(rows)
}

// rows returns the whole event log.
func (f *fleet) rows() []*mirror.EventRow {
	f.t.Helper()
	var all []*mirror.EventRow
	for filter := (mirror.EventFilter{Limit: 200}); ; {
		page, err := f.store.Events(f.ctx, filter)
		require.NoError(f.t, err)
		all = append(all, page.Items...)
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			return all
		}
	}
}

func unprocessed(rows []*mirror.EventRow) []string {
	seen := map[string]bool{}
	var bad []string
	for _, r := range rows {
		if r.Status != mirror.Processed || seen[r.ID] {
			bad = append(bad, fmt.Sprintf("%s %s: %s (listed before: %t)", r.ID, r.Type, r.Status, seen[r.ID]))
		}
		seen[r.ID] = true
	}
	return bad
}

// untrue compares the mirror with the simulator's truth and returns what
// differs. At least atLeast entities must be there.
func (f *fleet) untrue(atLeast int) []string {
	f.t.Helper()
	lemon, err := provider.Builtin("lemon")
	require.NoError(f.t, err)
	client, err := provider.NewClient(lemon, provider.ClientOptions{BaseURL: "http://" + f.sim + "/v1", Key: apiKey})
	require.NoError(f.t, err)
	defer client.Close()
	truth := f.truth()
	require.GreaterOrEqual(f.t, len(truth), atLeast)
	var bad []string
	compared := map[string]bool{}
	for _, k := range lemon.Kinds() {
		for filter := (mirror.EntityFilter{Source: "lemon", Kind: k.Name, Limit: 200}); ; {
			page, err := f.store.Entities(f.ctx, filter)
			require.NoError(f.t, err)
			for _, doc := range page.Items {
				name := k.Name + "/" + doc.Key.ID
				compared[name] = true
				var want *provider.Snapshot
				if line, ok := truth[name]; ok {
					want, err = lemon.Read(k.Name, line.State)
					require.NoError(f.t, err, name)
				} else {
					want = f.asked(client, doc)
				}
				if string(want.Raw) != string(doc.Raw) {
					bad = append(bad, fmt.Sprintf("%s: mirror %s, provider %s", name, doc.Raw, want.Raw))
				}
			}
			if filter.Cursor = page.NextCursor; filter.Cursor == "" {
				break
			}
		}
	}
	for name, want := range truth {
		if (want.Kind == "account" || want.Kind == "order") && !compared[name] {
			bad = append(bad, name+": not in the mirror")
		}
	}
	require.GreaterOrEqual(f.t, len(compared), atLeast, "documents compared")
	return bad
}

// asked returns what the provider's API says of an entity: for those that its
// truth does not list, being computed from others.
func (f *fleet) asked(client *provider.Client, doc *mirror.Document) *provider.Snapshot {
	f.t.Helper()
	snap, err := client.Fetch(f.ctx, event.Ref{Key: doc.Key, Parents: doc.Parents}, "proof")
	require.NoError(f.t, err, doc.Key)
	return snap
}

// inversions returns where, along an entity's stream, a covering claim
// decreases.
func inversions(rows []*mirror.EventRow) []string {
	type settled struct {
		ms, seq, claim int64
	}
	byEntity := map[event.Key][]settled{}
	for _, r := range rows {
		for _, o := range r.Entities {
			if o.CoveredBy == nil {
				continue
			}
			s := settled{claim: o.CoveredBy.Claim}
			_, _ = fmt.Sscanf(o.Signal.ID, "%d-%d", &s.ms, &s.seq)
			byEntity[o.Ref.Key] = append(byEntity[o.Ref.Key], s)
		}
	}
	var found []string
	for k, list := range byEntity {
		slices.SortFunc(list, func(a, b settled) int {
			if a.ms != b.ms {
				return int(a.ms - b.ms)
			}
			return int(a.seq - b.seq)
		})
		for i := 1; i < len(list); i++ {
			if list[i].claim < list[i-1].claim {
				found = append(found, fmt.Sprintf("%s: %v after %v", k, list[i], list[i-1]))
			}
		}
	}
	return found
}

// countDuplicates wants every duplicate that was sent on record.
func (f *fleet) countDuplicates(rows []*mirror.EventRow) {
	f.t.Helper()
	var sim struct {
		Webhooks struct{ Accepted, Duplicated int64 }
	}
	f.tell("GET", "/_sim/counters", nil, &sim)
	require.Positive(f.t, sim.Webhooks.Duplicated, "nothing was sent twice")
	counted := int64(0)
	waitFor(f.t, 20*time.Second, func() string {
		return fmt.Sprintf("%d duplicates counted, %d sent", counted, sim.Webhooks.Accepted-int64(len(rows)))
	}, func() bool {
		counted = 0
		for _, r := range f.rows() {
			counted += r.Duplicates
		}
		return counted == sim.Webhooks.Accepted-int64(len(rows))
	})
}
