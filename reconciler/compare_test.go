package reconciler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	d := lemon(t)
	asked := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ref := event.Ref{Key: event.Key{Source: "lemon", Kind: "positions", ID: "cusa_1"}}
	state := func(text string) *provider.Snapshot {
		s, err := d.Read("positions", []byte(text))
		require.NoError(t, err)
		return s
	}
	doc := func(change func(*storage.Document)) *storage.Document {
		m := &storage.Document{
			Key: ref.Key, Raw: []byte(`[{"isin":"A","q":1.10}]`), StateHash: state(`[{"isin":"A","q":1.10}]`).Hash,
			Claim: 3, SyncedClaim: 3, SyncedAt: asked.Add(-time.Hour), VerifiedAt: asked.Add(-time.Hour),
		}
		if change != nil {
			change(m)
		}
		return m
	}
	never := &storage.Document{Key: ref.Key, Claim: 1}
	gone := func(m *storage.Document) { m.DeletedAt = asked.Add(-time.Minute) }
	cases := map[string]struct {
		doc   *storage.Document
		state *provider.Snapshot
		want  opinion
		typ   storage.DiscrepancyType
	}{
		"the same":                 {doc(nil), state(`[{"q":1.10, "isin":"A","latest_price":7}]`), agrees, ""},
		"another number":           {doc(nil), state(`[{"isin":"A","q":1.1}]`), differs, storage.Stale},
		"neither has it":           {nil, nil, unsure, ""},
		"never fetched, nor is":    {never, nil, unsure, ""},
		"not in the mirror":        {nil, state(`[]`), differs, storage.Missing},
		"never fetched":            {never, state(`[]`), differs, storage.Missing},
		"being fetched again":      {&storage.Document{Key: ref.Key, Behind: &storage.Behind{Reason: storage.ReasonRetrying}}, state(`[]`), behind, storage.Missing},
		"never had, and given up":  {&storage.Document{Key: ref.Key, Behind: &storage.Behind{Reason: storage.ReasonDeadLetter}}, state(`[]`), differs, storage.Missing},
		"given up, nor is there":   {&storage.Document{Key: ref.Key, Behind: &storage.Behind{Reason: storage.ReasonDeadLetter}}, nil, unsure, ""},
		"gone at the provider":     {doc(nil), nil, differs, storage.Deleted},
		"a stub of a gone one":     {doc(nil), &provider.Snapshot{Deleted: true}, differs, storage.Deleted},
		"gone on both sides":       {doc(gone), nil, agrees, ""},
		"gone in the mirror":       {doc(gone), state(`[{"isin":"A","q":1.10}]`), differs, storage.Unexpected},
		"by a clock that is ahead": {doc(func(m *storage.Document) { m.SyncedAt = asked.Add(time.Hour) }), state(`[]`), differs, storage.Stale},
		"parked":                   {doc(func(m *storage.Document) { m.Behind = &storage.Behind{Reason: storage.ReasonRetrying} }), state(`[]`), behind, storage.Stale},
		"lagging":                  {doc(func(m *storage.Document) { m.Behind = &storage.Behind{Reason: storage.ReasonLagging} }), state(`[]`), behind, storage.Stale},
		"given up":                 {doc(func(m *storage.Document) { m.Behind = &storage.Behind{Reason: storage.ReasonDeadLetter} }), state(`[]`), differs, storage.Stale},
		"parked and the same":      {doc(func(m *storage.Document) { m.Behind = &storage.Behind{Reason: storage.ReasonRetrying} }), state(`[{"isin":"A","q":1.10}]`), agrees, ""},
		"written by hand":          {doc(func(m *storage.Document) { m.Raw = []byte(`[{"isin":"A","q":9}]`) }), state(`[{"isin":"A","q":1.10}]`), differs, storage.Stale},
		"broken by hand":           {doc(func(m *storage.Document) { m.Raw = []byte(`[{`) }), state(`[{"isin":"A","q":1.10}]`), differs, storage.Stale},
		"hashed by an older definition": {
			doc(func(m *storage.Document) { m.StateHash = "of other fields" }), state(`[{"isin":"A","q":1.10}]`), agrees, "",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, typ := compare(d, c.doc, observation{ref: ref, state: c.state, at: asked})
			require.Equal(t, c.want, got)
			require.Equal(t, c.typ, typ)
		})
	}
}

func TestADifferenceHasOneName(t *testing.T) {
	t.Parallel()
	ref := event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}}
	stale := func(claim int64, found time.Time) difference {
		return difference{observation: observation{ref: ref, at: found}, typ: storage.Stale, doc: &storage.Document{SyncedClaim: claim}}
	}
	a := stale(1, time.Unix(1, 0)).id()
	require.Equal(t, a, stale(1, time.Unix(2, 0)).id(), "the id depends on neither finder nor time")
	require.NotEqual(t, a, stale(2, time.Unix(1, 0)).id(), "until the mirror was synced")
	require.NotEqual(t, a, difference{observation: observation{ref: ref}, typ: storage.Deleted, doc: &storage.Document{SyncedClaim: 1}}.id())
	require.NotEqual(t, discrepancyID("a", "bc"), discrepancyID("ab", "c"))
}

func TestChunksGrow(t *testing.T) {
	t.Parallel()
	parents, n := 0, 0
	for ; parents < 100_000; n++ {
		require.GreaterOrEqual(t, chunkSize(n+1), chunkSize(n))
		parents += chunkSize(n)
	}
	require.Less(t, n, 300, "100,000 parents make no flood of partitions")
	require.LessOrEqual(t, chunkSize(0), 4, "and ten are still divided")
	require.Equal(t, 500, chunkSize(1_000_000))
}
