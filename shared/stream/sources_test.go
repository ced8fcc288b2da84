package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// Work of a source that was renamed is found by the names the fleet has had.
func TestOrphans(t *testing.T) {
	s, _ := start(t)
	require.NoError(t, s.Remember(t.Context(), []string{"lemon", "stripe"}))
	orphans, err := s.Orphans(t.Context(), []string{"lemon"})
	require.NoError(t, err)
	require.Empty(t, orphans, "nothing waits of the other")

	appended(t, s, happened("evt_1", "bord_1"), happened("evt_2", "bord_2"), look("bord_3", event.Reconcile))
	orphans, err = s.Orphans(t.Context(), []string{"lemon"})
	require.NoError(t, err)
	require.Empty(t, orphans, "it is configured")
	orphans, err = s.Orphans(t.Context(), []string{"lime"})
	require.NoError(t, err)
	require.Len(t, orphans, 1)
	require.Equal(t, "lemon", orphans[0].Source)
	require.EqualValues(t, 2, orphans[0].Live)
	require.EqualValues(t, 1, orphans[0].Background)
}

func TestForgetRemovesAllOfOneSource(t *testing.T) {
	s, srv := start(t)
	l := ready(t, s, "w")
	require.NoError(t, s.Remember(t.Context(), []string{"lemon"}))
	appended(t, s, happened("evt_1", "bord_1"), happened("evt_2", "bord_2"), look("bord_3", event.Reconcile))
	got1 := readLive(t, l)
	require.NoError(t, l.Park(t.Context(), Park{
		Key: order("bord_1"), Charged: got1[:1], Attempt: 1, Delay: time.Hour, Earliest: time.Hour, State: []byte("state"),
	}))
	var logged []string
	log := func(_ int, entries []Entry) error {
		for _, e := range entries {
			logged = append(logged, e.Signal.Body.ID)
		}
		return nil
	}
	got, err := s.Forget(t.Context(), "lemon", log)
	require.NoError(t, err)
	require.Equal(t, Forgotten{Entries: 1, Parked: 1}, got)
	require.Equal(t, []string{"evt_2"}, logged)
	orphans, err := s.Orphans(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, orphans)
	keys, err := srv.Client().Keys(t.Context(), "*lemon*").Result()
	require.NoError(t, err)
	require.NotContains(t, keys, "{tarn:0}:mark:lemon:evt_2", "the event may come again")
	for _, k := range keys {
		require.NotRegexp(t, ":(live|background|due|earliest|parked|record):", k)
	}
	got, err = s.Forget(t.Context(), "lemon", log)
	require.NoError(t, err)
	require.Zero(t, got)
}
