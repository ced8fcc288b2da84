package storetest

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

var claimCases = []testCase{
	{"the first claim makes the document", func(t *testing.T, s *suite) {
		doc := s.claim(order("o1"))
		require.Equal(t, asJSON(t, &storage.Document{Key: order("o1").Key, Parents: order("o1").Parents, Claim: 1}), asJSON(t, doc))
		require.False(t, doc.Known())
		require.Nil(t, doc.Raw)
	}},
	{"each claim is one higher and shows the document", func(t *testing.T, s *suite) {
		require.EqualValues(t, 1, s.sync(order("o1"), state(1)))
		doc := s.claim(order("o1"))
		require.EqualValues(t, 2, doc.Claim)
		require.EqualValues(t, 1, doc.SyncedClaim)
		require.Equal(t, state(1), string(doc.Raw))
		require.EqualValues(t, 1, s.claim(order("o2")).Claim, "claims of one entity are no other's")
	}},
	{"parents of a claim are for a new document only", func(t *testing.T, s *suite) {
		s.claim(order("o1"))
		for _, other := range []map[string]string{nil, {"account": "cusa_2"}} {
			require.Equal(t, order("o1").Parents, s.claim(event.Ref{Key: order("o1").Key, Parents: other}).Parents)
			require.Equal(t, order("o1").Parents, s.entity(order("o1")).Parents)
		}
	}},
	{"claims taken at once are all different", func(t *testing.T, s *suite) {
		const goroutines, each = 8, 8
		var mu sync.Mutex
		seen := map[int64]bool{}
		var g errgroup.Group
		for range goroutines {
			g.Go(func() error {
				for range each {
					doc, err := s.Claim(s.ctx, order("o1"))
					if err != nil {
						return err
					}
					mu.Lock()
					seen[doc.Claim] = true
					mu.Unlock()
				}
				return nil
			})
		}
		require.NoError(t, g.Wait())
		require.Len(t, seen, goroutines*each)
		require.EqualValues(t, goroutines*each, s.entity(order("o1")).Claim)
	}},
	{"of many writers one wins: the newest claim", testFence},
}

// testFence lets many claim and then all write at once, in several rounds.
func testFence(t *testing.T, s *suite) {
	require.Empty(t, FenceViolations(t, s.Store))
}

// FenceViolations plays rounds of writers that claim the same entity one after
// the other and then write at the same time, and returns what went against the
// rule that only the newest claim is written. It is exported so that a store
// without the fence can be seen to fail it.
func FenceViolations(t *testing.T, store storage.Store) (violations []string) {
	const rounds, writers = 6, 6
	ctx := t.Context()
	ref := order("contested")
	for range rounds {
		claims := make([]int64, writers)
		for i := range claims {
			doc, err := store.Claim(ctx, ref)
			require.NoError(t, err)
			claims[i] = doc.Claim
		}
		newest := claims[writers-1]
		won := make([]bool, writers)
		var g errgroup.Group
		for i, claim := range claims {
			g.Go(func() error {
				done, err := store.Write(ctx, write(ref, claim, state(int(claim))))
				won[i] = done.Applied
				return err
			})
		}
		require.NoError(t, g.Wait())
		for i, claim := range claims {
			if won[i] != (claim == newest) {
				violations = append(violations, "an old claim was written, or the newest refused")
			}
		}
		doc, err := store.Entity(ctx, ref.Key)
		require.NoError(t, err)
		if string(doc.Raw) != state(int(newest)) {
			violations = append(violations, "the mirror shows "+string(doc.Raw))
		}
	}
	return violations
}
