package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// The lease knows without asking when something is due that it made due.
func TestLeaseKnowsWhatIsDue(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	ask := func() {
		t.Helper()
		_, err := l.Due(t.Context(), DueOf{"lemon", 10}, DueOf{"other", 10})
		require.NoError(t, err)
	}
	// within requires that the next is due d after since, or later by as much as has passed, and
	// that its knowledge woke.
	since := time.Now()
	within := func(d time.Duration, wakes bool) {
		t.Helper()
		next := l.NextDue("lemon")
		require.False(t, next.Before(since.Add(d-time.Second)), next)
		require.False(t, next.After(time.Now().Add(d+time.Second)), next)
		select {
		case <-l.SoonerDue():
			require.True(t, wakes)
		default:
			require.False(t, wakes)
		}
	}
	require.Zero(t, l.NextDue("lemon"), "it is not known at first")
	ask()
	require.Equal(t, never, l.NextDue("lemon"))
	require.Equal(t, never, l.NextDue("other"))

	appended(t, s, happened("evt_1", "a"))
	require.NoError(t, l.Park(t.Context(), Park{Key: order("a"), Charged: readLive(t, l), Attempt: 1, Delay: 10 * time.Second, Earliest: time.Second}))
	within(10*time.Second, true)
	require.NoError(t, l.Defer(t.Context(), order("a"), time.Hour))
	within(10*time.Second, false)
	ask()
	within(lookAgain, true)
	require.NoError(t, l.Defer(t.Context(), order("a"), 5*time.Second))
	within(5*time.Second, true)

	appended(t, s, happened("evt_2", "a"))
	_, err := l.ParkBehind(t.Context(), readLive(t, l))
	require.NoError(t, err)
	within(0, true)
	ask()
	within(5*time.Second, true)
	_, entries, err := l.Parked(t.Context(), order("a"), 0, 10)
	require.NoError(t, err)
	left, err := l.Unpark(t.Context(), order("a"), idsOf(entries[:1]), nil, 0)
	require.NoError(t, err)
	require.Equal(t, 1, left)
	within(0, true)
	found, err := l.Due(t.Context(), DueOf{"other", 10}, DueOf{"lemon", 1})
	require.NoError(t, err)
	require.Empty(t, found[0].Keys)
	require.Equal(t, []event.Key{order("a")}, found[1].Keys)
	within(0, true)
	require.Equal(t, never, l.NextDue("other"))
}

// Sources shows that what is parked of a source is to be retried.
func TestRetryParkedIsNews(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	ask := func() []SourceNews {
		t.Helper()
		news, err := s.Sources(t.Context(), []string{"other", "lemon"})
		require.NoError(t, err)
		return news
	}
	require.Equal(t, []SourceNews{{}, {}}, ask())
	var before string
	for range 2 {
		_, err := s.RetryParked(t.Context(), "lemon")
		require.NoError(t, err)
		now := ask()
		require.Empty(t, now[0].Retried)
		require.NotEqual(t, before, now[1].Retried)
		before = now[1].Retried
	}
	require.NoError(t, s.Pause(t.Context(), "lemon", 0, "by hand", "ops"))
	one, err := s.Source(t.Context(), "lemon")
	require.NoError(t, err)
	require.Equal(t, one, ask()[1].State)
	require.False(t, ask()[0].State.Paused)
}

// A key that another program wrote costs its own source: what is due of others is named,
// and their states are shown.
func TestAKeyOfAnotherTypeCostsNoOtherSource(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	l := ready(t, s, "w1")
	ctx := t.Context()
	appended(t, s, happened("evt_1", "a"))
	require.NoError(t, l.Park(ctx, Park{Key: order("a"), Charged: readLive(t, l), Attempt: 1}))
	require.NoError(t, s.Pause(ctx, "lemon", 0, "by hand", "ops"))
	c := srv.Client()
	for _, key := range []string{s.keys.due(l.shard, "other"), s.keys.source("other")} {
		require.NoError(t, c.Set(ctx, key, "oops", 0).Err())
	}

	found, err := l.Due(ctx, DueOf{"other", 10}, DueOf{"lemon", 10})
	require.NoError(t, err)
	require.ErrorContains(t, found[0].Err, "WRONGTYPE")
	require.ErrorContains(t, found[0].Err, "other")
	require.NoError(t, found[1].Err)
	require.Equal(t, []event.Key{order("a")}, found[1].Keys)
	require.False(t, l.NextDue("other").After(time.Now()), "it is asked again")

	require.Equal(t, []string{"a"}, pages(t, s, WaitingFilter{Sources: []string{"other", "lemon"}, Limit: 1}))

	news, err := s.Sources(ctx, []string{"other", "lemon"})
	require.NoError(t, err)
	require.ErrorContains(t, news[0].Err, "WRONGTYPE")
	require.NoError(t, news[1].Err)
	require.True(t, news[1].State.Paused)

	_, err = s.RetryParked(ctx, "lemon")
	require.NoError(t, err)
	require.NoError(t, c.Set(ctx, s.keys.retried(), "oops", 0).Err())
	news, err = s.Sources(ctx, []string{"other", "lemon"})
	require.NoError(t, err)
	require.True(t, news[1].State.Paused)
}
