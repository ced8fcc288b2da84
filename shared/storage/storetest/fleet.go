package storetest

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

// Which fleet the database belongs to.
var fleetCases = []testCase{
	{"of no fleet until one is founded", func(t *testing.T, s *suite) {
		_, err := s.Fleet(s.ctx)
		require.ErrorIs(t, err, storage.ErrNotFound)
		changed, err := s.ChangeFleet(s.ctx, storage.Fleet{ID: "a"})
		require.NoError(t, err)
		require.False(t, changed, "there is none to change")
		got, err := s.FoundFleet(s.ctx, storage.Fleet{ID: "a", Prefix: "tarn", Shards: 64, Data: "d1"})
		require.NoError(t, err)
		require.Equal(t, storage.Fleet{ID: "a", Prefix: "tarn", Shards: 64, Data: "d1", Turn: 1}, got)
		got, err = s.Fleet(s.ctx)
		require.NoError(t, err)
		require.Equal(t, storage.Fleet{ID: "a", Prefix: "tarn", Shards: 64, Data: "d1", Turn: 1}, got)
	}},
	{"the first founds it", func(t *testing.T, s *suite) {
		_, err := s.FoundFleet(s.ctx, storage.Fleet{ID: "a"})
		require.NoError(t, err)
		got, err := s.FoundFleet(s.ctx, storage.Fleet{ID: "b", Prefix: "other"})
		require.NoError(t, err)
		require.Equal(t, storage.Fleet{ID: "a", Turn: 1}, got)
	}},
	{"of many founders one", func(t *testing.T, s *suite) {
		var all sync.WaitGroup
		got := make([]storage.Fleet, 4)
		errs := make([]error, len(got))
		for i := range got {
			all.Go(func() { got[i], errs[i] = s.FoundFleet(s.ctx, storage.Fleet{ID: string(rune('a' + i))}) })
		}
		all.Wait()
		for i := range got {
			require.NoError(t, errs[i])
			require.Equal(t, got[0], got[i])
		}
	}},
	{"changed by who has seen the last turn", func(t *testing.T, s *suite) {
		f, err := s.FoundFleet(s.ctx, storage.Fleet{ID: "a", Prefix: "tarn", Shards: 8, Data: "d1"})
		require.NoError(t, err)
		next := f
		next.Data = "d2"
		changed, err := s.ChangeFleet(s.ctx, next)
		require.NoError(t, err)
		require.True(t, changed)
		late := f
		late.Data = "d3"
		changed, err = s.ChangeFleet(s.ctx, late)
		require.NoError(t, err)
		require.False(t, changed)
		got, err := s.Fleet(s.ctx)
		require.NoError(t, err)
		require.Equal(t, storage.Fleet{ID: "a", Prefix: "tarn", Shards: 8, Data: "d2", Turn: 2}, got)
	}},
}
