package stream

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func sourceOf(t testing.TB, s *Streams) condition.State {
	t.Helper()
	st, err := s.Source(t.Context(), "lemon")
	require.NoError(t, err)
	return st
}

func TestPauseIsNeverShortened(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	ctx := t.Context()
	require.Equal(t, condition.State{}, sourceOf(t, s))

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
	probe, err := s.TakeProbe(ctx, "lemon", time.Minute)
	require.NoError(t, err)
	require.Empty(t, probe)

	require.NoError(t, s.Resume(ctx, "lemon"))
	require.Equal(t, condition.State{}, sourceOf(t, s))
}

func TestOneProbeWhenTheTimeHasCome(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	ctx := t.Context()
	probe, err := s.TakeProbe(ctx, "lemon", time.Minute)
	require.NoError(t, err)
	require.Empty(t, probe, "nothing to probe")

	require.NoError(t, s.Pause(ctx, "lemon", 30*time.Millisecond, "5xx", "w1"))
	probeOf(t, s)
	probe, err = s.TakeProbe(ctx, "lemon", time.Minute)
	require.NoError(t, err)
	require.Empty(t, probe, "one in the fleet probes")
	require.True(t, sourceOf(t, s).Paused, "until the probe says otherwise")

	require.NoError(t, s.Pause(ctx, "lemon", 10*time.Millisecond, "5xx", "w1"))
	require.Equal(t, 2, sourceOf(t, s).Strikes, "a failed probe is the next strike")
	probeOf(t, s) // the next pause has its own
}

// probeOf takes the probe of lemon, once its time has come.
func probeOf(t *testing.T, s *Streams) (probe string) {
	t.Helper()
	require.Eventually(t, func() (ok bool) {
		var err error
		probe, err = s.TakeProbe(t.Context(), "lemon", time.Minute)
		return err == nil && probe != ""
	}, soon, time.Millisecond)
	return probe
}

// A probe that was asked before a pause says nothing about it.
func TestAProbeEndsNoPauseThatCameMeanwhile(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	ctx := t.Context()
	require.NoError(t, s.Pause(ctx, "lemon", time.Millisecond, "5xx", "w1"))
	probe := probeOf(t, s)
	require.NoError(t, s.Pause(ctx, "lemon", 0, "by hand", "ops"))
	resumed, err := s.EndProbe(ctx, "lemon", probe)
	require.NoError(t, err)
	require.False(t, resumed)
	require.Equal(t, "by hand", sourceOf(t, s).Reason)

	require.NoError(t, s.Resume(ctx, "lemon"))
	require.NoError(t, s.Pause(ctx, "lemon", time.Millisecond, "5xx", "w1"))
	resumed, err = s.EndProbe(ctx, "lemon", probeOf(t, s))
	require.NoError(t, err)
	require.True(t, resumed)
	require.False(t, sourceOf(t, s).Paused)
}

func TestAnAlertIsOfOnePause(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	ctx := t.Context()
	require.NoError(t, s.Pause(ctx, "lemon", time.Hour, "5xx", "w1"))
	since := sourceOf(t, s).Since
	require.Empty(t, sourceOf(t, s).Told)
	require.NoError(t, s.Told(ctx, "lemon", since.Add(-time.Second), "another"))
	require.Empty(t, sourceOf(t, s).Told)
	require.NoError(t, s.Told(ctx, "lemon", since, "down"))
	require.Equal(t, "down", sourceOf(t, s).Told)
	require.NoError(t, s.Resume(ctx, "lemon"))
	require.NoError(t, s.Told(ctx, "lemon", since, "late"))
	require.Equal(t, condition.State{}, sourceOf(t, s))
}

// An alert of a pause is raised by one process at a time, and by the next one if
// that process never notes it.
func TestOneProcessRaisesAnAlert(t *testing.T) {
	t.Parallel()
	s, r := start(t)
	ctx := t.Context()
	require.NoError(t, s.Pause(ctx, "lemon", time.Hour, "5xx", "w1"))
	since := sourceOf(t, s).Since
	begin := func(what string) bool {
		mine, err := s.BeginAlert(ctx, "lemon", since, what)
		require.NoError(t, err)
		return mine
	}
	require.True(t, begin("down"))
	require.False(t, begin("down"), "it is being raised")
	require.NoError(t, s.Told(ctx, "lemon", since, "down"))
	require.False(t, begin("down"), "it was raised")
	require.True(t, begin("by hand"), "it says something else")
	for _, ends := range []time.Duration{-time.Second, time.Hour} { // its time is over; Redis' clock was set back
		require.NoError(t, r.Client().HSet(ctx, s.keys.source("lemon"), "telling", time.Now().Add(ends).UnixMilli()).Err())
		require.True(t, begin("by hand"))
	}
	since = since.Add(-time.Second)
	require.False(t, begin("another"), "it is another pause")
}

func TestTakeWhilePausedGrantsNothing(t *testing.T) {
	t.Parallel()
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

// The shares need takers that ask in time, so they ask by a clock of Redis that stands
// meanwhile.
func TestBudget(t *testing.T) {
	t.Parallel()
	r := Rate{Limit: 200, Per: time.Second}
	tests := []struct {
		name    string
		classes []event.Class
		// shares of the whole rate each class gets, at least and at most
		least, most []float64
	}{
		{"live alone has it all", []event.Class{event.Live}, []float64{.95}, []float64{1.1}},
		{"backfill alone has it all", []event.Class{event.Backfill}, []float64{.95}, []float64{1.1}},
		{"live leaves the floors", []event.Class{event.Live, event.Reconcile, event.Backfill},
			[]float64{.80, .04, .04}, []float64{.95, .12, .12}},
		{"redrive before reconcile", []event.Class{event.Redrive, event.Reconcile},
			[]float64{.85, .04}, []float64{1, .12}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, patience := range []time.Duration{time.Hour, 10 * time.Millisecond} {
				shares, sum := sharesOf(t, tt.classes, r, 2*time.Second, patience)
				for i, share := range shares {
					require.GreaterOrEqual(t, share, tt.least[i], tt.classes[i])
					require.LessOrEqual(t, share, tt.most[i], tt.classes[i])
				}
				require.GreaterOrEqual(t, sum, .95)
			}
		})
	}
}

// sharesOf lets one taker a class ask for lasts, each when it is told to, or sooner if it has
// less patience, and returns what part of the rate each got, and all.
func sharesOf(t *testing.T, classes []event.Class, r Rate, lasts, patience time.Duration) (shares []float64, sum float64) {
	t.Helper()
	srv, clock := redistest.StartWithClock(t)
	s := openStreams(t, quiet(srv.URL()))
	const trip = 200 * time.Microsecond // of a question to Redis
	begun := time.Now()
	clock.Stand(begun)
	for _, class := range classes { // empty what was saved up
		_, err := s.Take(t.Context(), "lemon", class, r.Limit, r)
		require.NoError(t, err)
	}
	got, next := make([]int, len(classes)), make([]time.Duration, len(classes))
	for {
		i := slices.Index(next, slices.Min(next)) // who asks next
		if next[i] >= lasts {
			break
		}
		clock.Stand(begun.Add(next[i]))
		g, err := s.Take(t.Context(), "lemon", classes[i], 5, r)
		require.NoError(t, err)
		got[i] += g.Tokens
		next[i] += trip
		if g.Tokens < 5 {
			next[i] += min(g.Wait, patience)
		}
	}
	all := r.PerSecond() * lasts.Seconds()
	total := 0
	for i, class := range classes {
		t.Logf("%s: %d of %.0f", class, got[i], all)
		total += got[i]
		shares = append(shares, float64(got[i])/all)
	}
	saved := burst(r) + 3*max(1, burst(r)/20) // what the buckets can hold
	require.LessOrEqual(t, float64(total), all+saved)
	return shares, float64(total) / all
}

func TestLowerClassesLeaveTheMainBucketToThoseWhoWentShort(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	r := Rate{Limit: 50, Per: time.Minute} // slow: nothing fills up meanwhile
	take := func(class event.Class) int {
		g, err := s.Take(t.Context(), "lemon", class, 1, r)
		require.NoError(t, err)
		if g.Tokens == 0 {
			require.Positive(t, g.Wait)
		}
		return g.Tokens
	}
	set := func(pairs ...any) {
		require.NoError(t, srv.Client().HSet(t.Context(), s.keys.budget("lemon"), pairs...).Err())
	}
	take(event.Live)
	// takes lets redrive go short and takes at once: a machine that stalls for
	// longer than that is heeded gets another try.
	takes := func(class event.Class) (got int) {
		for range 20 {
			now, err := s.Now(t.Context())
			require.NoError(t, err)
			set("main", 1, "floor1", 0, "floor2", 0, "floor3", 0, "short1", now.UnixMicro())
			if got = take(class); got == 0 {
				break
			}
		}
		return got
	}
	require.Zero(t, takes(event.Backfill), "redrive went short")
	require.Zero(t, takes(event.Reconcile))
	require.Equal(t, 1, takes(event.Live), "what goes first waits for no other class")

	set("main", 1, "floor2", 1)
	require.Equal(t, 1, take(event.Reconcile), "the floor is its own")
	require.Zero(t, take(event.Reconcile))
	set("short1", 0, "short2", 0)
	require.Equal(t, 1, take(event.Backfill), "no class goes short any more")
}

func TestBudgetIsShown(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	slow := Rate{Limit: 1, Per: time.Hour} // a burst of one, back after an hour
	level := func(r Rate) float64 {
		l, err := s.Budget(t.Context(), "lemon", r)
		require.NoError(t, err)
		return l
	}
	require.Equal(t, 1.0, level(slow), "no worker has taken")
	g, err := s.Take(t.Context(), "lemon", event.Live, 5, slow)
	require.NoError(t, err)
	require.Equal(t, 1, g.Tokens)
	require.InDelta(t, 0, level(slow), 0.1, "all is taken")
	require.Equal(t, 1.0, level(Rate{}), "without a limit there is always some")
	require.Eventually(t, func() bool { return level(Rate{Limit: 100, Per: 10 * time.Millisecond}) == 1 },
		soon, time.Millisecond, "time fills it")
}

func TestRateBurst(t *testing.T) {
	t.Parallel()
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
			require.InDelta(t, tt.perSecond, tt.rate.PerSecond(), 1e-9)
			require.InDelta(t, tt.burst, burst(tt.rate), 1e-9)
		})
	}
}
