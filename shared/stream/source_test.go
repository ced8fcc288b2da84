package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func sourceOf(t testing.TB, s *Streams) SourceState {
	t.Helper()
	st, err := s.Source(t.Context(), "lemon")
	require.NoError(t, err)
	return st
}

func TestPauseIsNeverShortened(t *testing.T) {
	s, _ := start(t)
	ctx := t.Context()
	require.Equal(t, SourceState{}, sourceOf(t, s))

	require.NoError(t, s.Pause(ctx, "lemon", time.Hour, "429", "w1"))
	long := sourceOf(t, s)
	require.True(t, long.Paused)
	require.WithinDuration(t, time.Now().Add(time.Hour), long.Until, time.Minute)
	require.Equal(t, "429", long.Reason)
	require.Equal(t, "w1", long.By)
	require.Equal(t, 1, long.Strikes)

	require.NoError(t, s.Pause(ctx, "lemon", time.Minute, "5xx", "w2"))
	require.Equal(t, long, sourceOf(t, s), "a shorter pause changes nothing")
	require.NoError(t, s.Pause(ctx, "lemon", 2*time.Hour, "5xx", "w2"))
	longer := sourceOf(t, s)
	require.True(t, longer.Until.After(long.Until))
	require.Equal(t, 1, longer.Strikes, "the same outage is one strike")
	require.Equal(t, long.Since, longer.Since)

	require.NoError(t, s.Pause(ctx, "lemon", 0, "by hand", "ops"))
	hand := sourceOf(t, s)
	require.True(t, hand.Paused)
	require.Zero(t, hand.Until)
	require.NoError(t, s.Pause(ctx, "lemon", 9*time.Hour, "429", "w1"))
	require.Equal(t, hand, sourceOf(t, s), "what was paused by hand is not softened")
	ok, err := s.TakeProbe(ctx, "lemon", time.Minute)
	require.NoError(t, err)
	require.False(t, ok)

	require.NoError(t, s.Resume(ctx, "lemon"))
	require.Equal(t, SourceState{}, sourceOf(t, s))
}

func TestOneProbeWhenTheTimeHasCome(t *testing.T) {
	s, _ := start(t)
	ctx := t.Context()
	ok, err := s.TakeProbe(ctx, "lemon", time.Minute)
	require.NoError(t, err)
	require.False(t, ok, "nothing to probe")

	require.NoError(t, s.Pause(ctx, "lemon", 30*time.Millisecond, "5xx", "w1"))
	require.Eventually(t, func() bool {
		ok, err := s.TakeProbe(ctx, "lemon", time.Minute)
		return err == nil && ok
	}, 5*time.Second, time.Millisecond)
	ok, err = s.TakeProbe(ctx, "lemon", time.Minute)
	require.NoError(t, err)
	require.False(t, ok, "one in the fleet probes")
	require.True(t, sourceOf(t, s).Paused, "until the probe says otherwise")

	require.NoError(t, s.Pause(ctx, "lemon", 10*time.Millisecond, "5xx", "w1"))
	require.Equal(t, 2, sourceOf(t, s).Strikes, "a failed probe is the next strike")
	require.Eventually(t, func() bool {
		ok, err := s.TakeProbe(ctx, "lemon", time.Minute)
		return err == nil && ok
	}, 5*time.Second, time.Millisecond, "the next pause has its own probe")
}

func TestTakeWhilePausedGrantsNothing(t *testing.T) {
	s, _ := start(t)
	for _, rate := range []Rate{{}, {Limit: 50, Per: time.Second}} {
		require.NoError(t, s.Pause(t.Context(), "lemon", time.Minute, "429", "w1"))
		g, err := s.Take(t.Context(), "lemon", event.Live, 5, rate)
		require.NoError(t, err)
		require.Zero(t, g.Tokens)
		require.True(t, g.Source.Paused)
		require.Equal(t, "429", g.Source.Reason)
		require.Greater(t, g.Wait, 50*time.Second)
		require.NoError(t, s.Resume(t.Context(), "lemon"))
		g, err = s.Take(t.Context(), "lemon", event.Live, 5, rate)
		require.NoError(t, err)
		require.Equal(t, 5, g.Tokens)
		require.False(t, g.Source.Paused)
	}
}

// taker asks for one token after another, as a worker would, until stop.
func taker(t testing.TB, s *Streams, class event.Class, r Rate, stop time.Time) (got int) {
	for time.Now().Before(stop) {
		g, err := s.Take(t.Context(), "lemon", class, 5, r)
		if err != nil {
			t.Errorf("take: %v", err)
			return got
		}
		got += g.Tokens
		if g.Tokens < 5 && pause(t.Context(), min(g.Wait, time.Until(stop))) != nil {
			return got
		}
	}
	return got
}

func TestBudget(t *testing.T) {
	const lasts = 2 * time.Second
	r := Rate{Limit: 200, Per: time.Second}
	all := float64(r.Limit) * lasts.Seconds()
	tests := []struct {
		name    string
		classes []event.Class
		// shares of the whole rate each class gets, at least and at most
		least, most []float64
	}{
		{"live alone has it all", []event.Class{event.Live}, []float64{.95}, []float64{1}},
		{"backfill alone has it all", []event.Class{event.Backfill}, []float64{.95}, []float64{1}},
		{"live leaves the floors", []event.Class{event.Live, event.Reconcile, event.Backfill},
			[]float64{.80, .04, .04}, []float64{.92, .10, .10}},
		{"redrive before reconcile", []event.Class{event.Redrive, event.Reconcile},
			[]float64{.85, .04}, []float64{.96, .10}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := openStreams(t, quiet(redistest.Start(t).URL()))
			for _, class := range tt.classes { // empty what was saved up
				_, err := s.Take(t.Context(), "lemon", class, r.Limit, r)
				require.NoError(t, err)
			}
			got := make([]chan int, len(tt.classes))
			stop := time.Now().Add(lasts)
			for i, class := range tt.classes {
				got[i] = make(chan int, 1)
				go func() { got[i] <- taker(t, s, class, r, stop) }()
			}
			sum := 0.0
			for i, class := range tt.classes {
				n := float64(<-got[i])
				sum += n
				t.Logf("%s: %.0f of %.0f", class, n, all)
				require.GreaterOrEqual(t, n, tt.least[i]*all, class)
				require.LessOrEqual(t, n, tt.most[i]*all+float64(r.burst()), class)
			}
			require.GreaterOrEqual(t, sum, .95*all)
			require.LessOrEqual(t, sum, all+r.burst())
		})
	}
}

func TestRateBurst(t *testing.T) {
	tests := []struct {
		name      string
		rate      Rate
		perSecond float64
		burst     float64
	}{
		{"a second", Rate{Limit: 50, Per: time.Second}, 50, 10},
		{"a minute", Rate{Limit: 3000, Per: time.Minute}, 50, 10},
		{"less than a second", Rate{Limit: 10, Per: 100 * time.Millisecond}, 100, 2},
		{"slow", Rate{Limit: 1, Per: time.Minute}, 1.0 / 60, 1},
		{"no per", Rate{Limit: 10}, 10, 2},
		{"unlimited", Rate{}, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			require.InDelta(t, tt.perSecond, tt.rate.perSecond(), 1e-9)
			require.InDelta(t, tt.burst, tt.rate.burst(), 1e-9)
		})
	}
}
