package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// Work of a source that was renamed is found by the names the fleet has had.
func TestUnconfiguredSources(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	require.NoError(t, s.Remember(t.Context(), []string{"lemon", "stripe"}))
	found, err := s.Unconfigured(t.Context(), []string{"lemon"})
	require.NoError(t, err)
	require.Empty(t, found, "nothing waits of the other")

	appended(t, s, happened("evt_1", "bord_1"), happened("evt_2", "bord_2"), look("bord_3", event.Reconcile))
	found, err = s.Unconfigured(t.Context(), []string{"lemon"})
	require.NoError(t, err)
	require.Empty(t, found, "it is configured")
	found, err = s.Unconfigured(t.Context(), []string{"lime"})
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, "lemon", found[0].Source)
	require.EqualValues(t, 2, found[0].Live)
	require.EqualValues(t, 1, found[0].Background)
}

func TestForgetRemovesAllOfOneSource(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	l := ready(t, s, "w")
	require.NoError(t, s.Remember(t.Context(), []string{"lemon"}))
	appended(t, s, happened("evt_1", "bord_1"), happened("evt_2", "bord_2"), look("bord_3", event.Reconcile))
	got1 := readLive(t, l)
	require.NoError(t, l.Park(t.Context(), Park{
		Key: order("bord_1"), Charged: got1[:1], Attempt: 1, Delay: time.Hour, Earliest: time.Hour, State: []byte("state"),
	}))
	var logged []string
	log := func(_ int, entries []event.Entry) error {
		for _, e := range entries {
			logged = append(logged, e.Signal.Body.ID)
		}
		return nil
	}
	got, err := s.Forget(t.Context(), "lemon", log)
	require.NoError(t, err)
	require.Equal(t, Forgotten{Entries: 1, Parked: 1}, got)
	require.Equal(t, []string{"evt_2"}, logged)
	found, err := s.Unconfigured(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, found)
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

// Slots that no node serves take no writes either, which /readyz says.
func TestAClusterThatIsDownTakesNoWrites(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	err := s.client.Eval(t.Context(), "return redis.error_reply('CLUSTERDOWN The cluster is down')", nil).Err()
	require.ErrorContains(t, err, "CLUSTERDOWN")
	said := s.writes.refused.Load()
	require.NotNil(t, said)
	require.Contains(t, *said, "CLUSTERDOWN")
	require.NoError(t, s.Ping(t.Context()), "it takes them again")
	require.Nil(t, s.writes.refused.Load())
}

// When due times were last looked at is kept beside them, and only with them.
func TestNothingIsKeptOfDueTimesWhereNoneAre(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	ctx := t.Context()
	l := ready(t, s, "w")
	seen := func() int64 { return srv.Client().Exists(ctx, s.keys.due(0, "lemon")+"@seen").Val() }
	due, next, err := dueOf(ctx, l, 10)
	require.NoError(t, err)
	require.Empty(t, due)
	require.Zero(t, next)
	require.Zero(t, seen(), "nothing is parked: looking is no write")

	park := func(event, entity string) {
		appended(t, s, happened(event, entity))
		require.NoError(t, l.Park(ctx, Park{Key: order(entity), Waiting: readLive(t, l), Delay: time.Hour, Earliest: time.Hour}))
		require.EqualValues(t, 1, seen())
	}
	park("evt_1", "a")
	require.NoError(t, l.DiscardEntity(ctx, "lemon", order("a").String(), func([]event.Entry) error { return nil }))
	require.Zero(t, seen(), "the last one was discarded")
	park("evt_2", "b")
	_, err = s.Forget(ctx, "lemon", func(int, []event.Entry) error { return nil })
	require.NoError(t, err)
	require.Zero(t, seen(), "the source was forgotten")
}
