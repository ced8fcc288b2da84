package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// Only the holder of a lease begins a request, and it learns Redis' time.
func TestBeginIsFenced(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	first := acquired(t, s, "w1")
	before, err := s.Now(t.Context())
	require.NoError(t, err)
	at, err := first.Begin(t.Context())
	require.NoError(t, err)
	require.WithinDuration(t, before, at, time.Minute)
	require.NoError(t, first.Release(t.Context()))
	acquired(t, s, "w2")
	_, err = first.Begin(t.Context())
	require.ErrorIs(t, err, ErrFenced)
}

// Commands go before live events, and take no more than their share of the rate: with
// both asking for all there is, each has about half of it.
func TestCommandsHaveTheirShareFirst(t *testing.T) {
	t.Parallel()
	srv, clock := redistest.StartWithClock(t)
	s := openStreams(t, quiet(srv.URL()))
	now := time.Now() // how busy the machine is makes no difference
	clock.Stand(now)
	r := Rate{Limit: 200, Per: time.Second}
	got := map[event.Class]int{}
	take := func(class event.Class) {
		g, err := s.Take(t.Context(), "lemon", class, 10, r)
		require.NoError(t, err)
		got[class] += g.Tokens
	}
	for range 4 { // what was saved up
		take(event.Live)
		take(event.Command)
	}
	clear(got)
	for range 1000 { // 2 s
		take(event.Live)
		take(event.Command)
		now = now.Add(2 * time.Millisecond) // takers poll
		clock.Stand(now)
	}
	total := float64(r.Limit) * 2
	require.InDelta(t, 0.5*total, got[event.Command], 0.15*total)
	require.Greater(t, float64(got[event.Live]), 0.3*total)
	require.LessOrEqual(t, float64(got[event.Live]+got[event.Command]), 1.05*total+2*burst(r))

	r.Commands = 0.1
	clear(got)
	for range 500 { // 1 s
		take(event.Command)
		now = now.Add(2 * time.Millisecond)
		clock.Stand(now)
	}
	require.LessOrEqual(t, float64(got[event.Command]), 0.1*float64(r.Limit)+burst(r), "without others too")
}
