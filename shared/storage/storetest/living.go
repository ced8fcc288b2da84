package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

var livingCases = []testCase{
	{"what lives of a kind, the liveliest first", func(t *testing.T, s *suite) {
		for _, id := range []string{"o1", "o2", "o3"} {
			s.sync(order(id), state(1))
			doc := s.entity(order(id))
			_, err := s.Verify(s.ctx, []storage.Verified{{Key: doc.Key, StateHash: doc.StateHash, At: at(100 + int(id[1]))}})
			require.NoError(t, err)
		}
		done := write(order("o4"), s.claim(order("o4")).Claim, state(1))
		done.Status, done.Terminal = "executed", true
		s.write(done)
		s.sync(order("o5"), state(1))
		s.write(&storage.Write{Ref: order("o5"), Claim: s.claim(order("o5")).Claim, SentAt: at(50), Deleted: true})
		s.claim(order("o6")) // never fetched
		s.sync(account("a1"), state(1))
		ids := func(limit int) (got []string) {
			docs, err := s.Living(s.ctx, "lemon", "order", limit)
			require.NoError(t, err)
			for _, d := range docs {
				got = append(got, d.Key.ID)
			}
			return got
		}
		require.Equal(t, []string{"o3", "o2", "o1", "o4"}, ids(10))
		require.Equal(t, []string{"o3", "o2"}, ids(2))
		require.Equal(t, []string{"o3"}, ids(0))
		docs, err := s.Living(s.ctx, "lemon", "trade", 10)
		require.NoError(t, err)
		require.Empty(t, docs)
		docs, err = s.Living(s.ctx, "stripe", "order", 10)
		require.NoError(t, err)
		require.Empty(t, docs)
		docs, err = s.Living(s.ctx, "lemon", "account", 1)
		require.NoError(t, err)
		require.Equal(t, event.Key{Source: "lemon", Kind: "account", ID: "a1"}, docs[0].Key)
	}},
}
