package storetest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

var subscriptionCases = []testCase{
	{"the last one saved is kept", func(t *testing.T, s *suite) {
		first := storage.Subscription{Source: "lemon", Consumer: "billing", Form: "page", After: "A.3.B", Position: 3, At: at(1), By: "ops"}
		other := storage.Subscription{Source: "lime", Consumer: "billing", Form: "stream", Kinds: []string{"account", "order"}, After: "0", At: at(2), By: "ops"}
		require.NoError(t, s.SaveSubscriptions(s.ctx, []storage.Subscription{first, other}))
		found, err := s.Subscriptions(s.ctx)
		require.NoError(t, err)
		require.Equal(t, []storage.Subscription{other, first}, found, "the latest first")

		first.After, first.Position, first.At, first.By = "A.9.C", 9, at(3), "local"
		require.NoError(t, s.SaveSubscriptions(s.ctx, []storage.Subscription{first}))
		found, err = s.Subscriptions(s.ctx)
		require.NoError(t, err)
		require.Equal(t, []storage.Subscription{first, other}, found)
	}},
	{"a list has a bound", func(t *testing.T, s *suite) {
		subs := make([]storage.Subscription, storage.MaxSubscriptions+1)
		for i := range subs {
			subs[i] = storage.Subscription{Source: "lemon", Consumer: fmt.Sprint("c", i), Form: "page", After: "0", At: at(i)}
		}
		require.NoError(t, s.SaveSubscriptions(s.ctx, subs))
		found, err := s.Subscriptions(s.ctx)
		require.NoError(t, err)
		require.Len(t, found, storage.MaxSubscriptions)
		require.Equal(t, "c1", found[len(found)-1].Consumer, "the oldest is left out")
	}},
	{"old ones are removed", func(t *testing.T, s *suite) {
		require.NoError(t, s.SaveSubscriptions(s.ctx, []storage.Subscription{
			{Source: "lemon", Consumer: "old", Form: "page", After: "0", At: at(1)},
			{Source: "lemon", Consumer: "young", Form: "page", After: "0", At: at(2)},
		}))
		n, err := s.TrimSubscriptions(s.ctx, at(2))
		require.NoError(t, err)
		require.Equal(t, 1, n)
		found, err := s.Subscriptions(s.ctx)
		require.NoError(t, err)
		require.Len(t, found, 1)
		require.Equal(t, "young", found[0].Consumer)
	}},
}
