package stream

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// setBack is how far these tests set Redis' clock back: much longer than any of
// them waits.
const setBack = -2 * time.Hour

// soon is how long something may take that is a matter of a second or two.
const soon = time.Minute

func startWithClock(t *testing.T) (*Streams, *redistest.Server, *redistest.Clock) {
	t.Helper()
	srv, clock := redistest.StartWithClock(t)
	o := quiet(srv.URL())
	o.LeaseTTL = 6 * time.Second
	return openStreams(t, o), srv, clock
}

// A pause lasts as long as was asked, wherever the clock goes meanwhile.
func TestAPauseOutlastsNoClockSetBack(t *testing.T) {
	t.Parallel()
	s, srv, clock := startWithClock(t)
	ctx := t.Context()
	require.NoError(t, s.Pause(ctx, "lemon", time.Second, "429", "w1"))
	clock.Set(setBack)
	g, err := s.Take(ctx, "lemon", event.Live, 1, Rate{Limit: 10})
	require.NoError(t, err)
	require.LessOrEqual(t, g.Wait, time.Second, "takers are not sent away for hours")
	st := sourceOf(t, s)
	now, err := s.Now(ctx)
	require.NoError(t, err)
	require.False(t, st.Since.After(now), "paused since %s, now %s", st.Since, now)
	require.WithinDuration(t, now, st.Until, -setBack/2)
	probeOf(t, s)

	// And so does one that a version wrote that did not keep its length.
	state := s.keys.source("lemon")
	require.NoError(t, s.Resume(ctx, "lemon"))
	now, err = s.Now(ctx)
	require.NoError(t, err)
	require.NoError(t, srv.Client().HSet(ctx, state, "until", now.Add(time.Second).UnixMilli(),
		"since", now.UnixMilli(), "strikes", 1, "reason", "429", "by", "old").Err())
	_, err = s.TakeProbe(ctx, "lemon", time.Second)
	require.NoError(t, err)
	clock.Set(2 * setBack)
	probeOf(t, s)
}

// What is paused while the clock is back is not taken for shorter than the pause
// that was made before.
func TestAPauseStartsOverAfterAClockSetBack(t *testing.T) {
	t.Parallel()
	s, _, clock := startWithClock(t)
	ctx := t.Context()
	require.NoError(t, s.Pause(ctx, "lemon", time.Minute, "429", "w1"))
	clock.Set(setBack)
	require.NoError(t, s.Pause(ctx, "lemon", 3*time.Minute, "5xx", "w2"))
	require.Equal(t, "5xx", sourceOf(t, s).Reason, "the longer one stands")
	require.Equal(t, 1, sourceOf(t, s).Strikes, "it is the same outage")
}

// A probe whose holder died in the jump is free again.
func TestAProbeOutlastsNoClockSetBack(t *testing.T) {
	t.Parallel()
	s, _, clock := startWithClock(t)
	ctx := t.Context()
	require.NoError(t, s.Pause(ctx, "lemon", time.Millisecond, "5xx", "w1"))
	require.Eventually(t, func() bool {
		probe, err := s.TakeProbe(ctx, "lemon", time.Second)
		return err == nil && probe != ""
	}, soon, time.Millisecond)
	clock.Set(setBack)
	require.Eventually(t, func() bool {
		probe, err := s.TakeProbe(ctx, "lemon", time.Second)
		return err == nil && probe != ""
	}, soon, 10*time.Millisecond)
}

// Parked entities are due when they would have been.
func TestParkedEntitiesOutlastNoClockSetBack(t *testing.T) {
	t.Parallel()
	s, _, clock := startWithClock(t)
	ctx := t.Context()
	l := ready(t, s, "w1")
	appended(t, s, happened("evt_1", "first"), happened("evt_2", "second"), happened("evt_3", "third"))
	entries := readLive(t, l)
	park := func(e event.Entry, after time.Duration) {
		require.NoError(t, l.Park(ctx, Park{
			Key: e.Signal.Ref.Key, Charged: []event.Entry{e}, Attempt: 1, Delay: after, Earliest: time.Second, State: []byte("{}"),
		}))
	}
	park(entries[0], time.Second)
	park(entries[1], time.Hour)
	clock.Set(setBack)
	require.NoError(t, l.Renew(ctx))
	park(entries[2], time.Hour) // parked after the jump, before any script noticed
	due := func() (keys []event.Key) {
		require.NoError(t, l.Renew(ctx))
		keys, next, err := dueOf(ctx, l, 10)
		require.NoError(t, err)
		require.LessOrEqual(t, next, time.Hour, "the next one waits no longer than it was to")
		return keys
	}
	require.Eventually(t, func() bool { return len(due()) > 0 }, soon, 50*time.Millisecond)
	require.Equal(t, []event.Key{order("first")}, due(), "the others wait their hour")

	// A live signal brings the second forward, as before the jump.
	appended(t, s, happened("evt_4", "second"))
	left, err := l.ParkBehind(ctx, readLive(t, l))
	require.NoError(t, err)
	require.Empty(t, left)
	require.Eventually(t, func() bool { return slices.Contains(due(), order("second")) }, soon, 50*time.Millisecond)
	require.NotContains(t, due(), order("third"))
}

// A worker that dies in the jump is missed, and its leases are free, within a
// lease TTL; those of the living stay theirs.
func TestTheDeadAreMissedThoughTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	s, _, clock := startWithClock(t)
	ctx := t.Context()
	dead := ready(t, s, "dead")
	task, err := s.Task(ctx, "gaps/lemon", "dead")
	require.NoError(t, err)
	_, err = s.Member("dead").Beat(ctx)
	require.NoError(t, err)
	clock.Set(setBack)
	require.Eventually(t, func() bool {
		live, err := s.Member("w2").Beat(ctx)
		return err == nil && slices.Equal(live, []string{"w2"})
	}, soon, 50*time.Millisecond)
	_, workers, err := s.Fleet(ctx, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"w2"}, workers)
	var l *Lease
	require.Eventually(t, func() bool {
		l, err = s.Acquire(ctx, 0, "w2", []string{"lemon"})
		return err == nil
	}, soon, 50*time.Millisecond)
	require.Greater(t, l.Epoch(), dead.Epoch())
	require.Eventually(t, func() bool {
		require.NoError(t, l.Renew(ctx))
		_, err := s.Task(ctx, "gaps/lemon", "w2")
		return err == nil
	}, soon, 50*time.Millisecond)
	require.ErrorIs(t, task.Renew(ctx), ErrFenced)

	clock.Set(2 * setBack)
	for begun := time.Now(); time.Since(begun) < s.opts.LeaseTTL+time.Second; {
		require.NoError(t, l.Renew(ctx))
		_, err := s.Acquire(ctx, 0, "w3", []string{"lemon"})
		require.ErrorIs(t, err, ErrHeld, "its holder lives")
		require.NoError(t, pause(ctx, 50*time.Millisecond))
	}
}

// A lock whose holder died keeps no caller waiting for longer than its expiry.
func TestALockOutlastsNoClockSetBack(t *testing.T) {
	t.Parallel()
	s, _, clock := startWithClock(t)
	_, ok := s.Lock(t.Context(), order("a"))
	require.True(t, ok)
	clock.Set(setBack)
	require.Eventually(t, func() bool {
		unlock, ok := s.Lock(t.Context(), order("a"))
		unlock()
		return ok
	}, soon, time.Millisecond)
}

// Marks run out: an event that the provider sends again later is taken up.
func TestMarksOutlastNoClockSetBack(t *testing.T) {
	t.Parallel()
	srv, clock := redistest.StartWithClock(t)
	o := quiet(srv.URL())
	o.DedupeTTL = 4 * time.Second
	s := openStreams(t, o)
	ctx := t.Context()
	appended(t, s, happened("evt_1", "a"))
	once := Draft{Signal: look("a", event.Reconcile), Once: 4 * time.Second}
	_, err := s.Append(ctx, once)
	require.NoError(t, err)
	clock.Set(setBack)
	for _, d := range []Draft{{Signal: happened("evt_1", "a")}, once} {
		got, err := s.Append(ctx, d)
		require.NoError(t, err)
		require.True(t, got.Duplicate)
		require.Eventually(t, func() bool {
			got, err := s.Append(ctx, d)
			return err == nil && !got.Duplicate
		}, soon, 50*time.Millisecond)
	}
}

// So do the marks of what was recovered.
func TestRecoveryMarksOutlastNoClockSetBack(t *testing.T) {
	t.Parallel()
	s, srv, clock := startWithClock(t)
	lost := []Lost{{Signal: further("evt_1", "a"), Known: notThere}}
	recover := func() RecoverState {
		got, err := s.Recover(t.Context(), lost)
		require.NoError(t, err)
		return got[0].State
	}
	require.Equal(t, RecoverAppended, recover())
	clock.Set(setBack)
	require.Equal(t, RecoverQueued, recover())
	left, err := srv.Client().PTTL(t.Context(), s.keys.recovery(0, "evt_1", order("a").String())).Result()
	require.NoError(t, err)
	require.LessOrEqual(t, left, recoverMark)
}

// A class that went short before the jump holds the lower ones back no longer
// than it would have.
func TestGoingShortOutlastsNoClockSetBack(t *testing.T) {
	t.Parallel()
	s, _, clock := startWithClock(t)
	r := Rate{Limit: 1000, Per: time.Second}
	take := func(class event.Class, n int) int {
		g, err := s.Take(t.Context(), "lemon", class, n, r)
		require.NoError(t, err)
		return g.Tokens
	}
	take(event.Live, 10000) // goes short
	clock.Set(setBack)
	floor := int(burst(r)/20) + 1
	require.Eventually(t, func() bool { return take(event.Backfill, 100) > floor }, soon, 50*time.Millisecond)
}

// A worker that waits for something new when the clock goes back looks again
// soon: meanwhile nothing that is due would be tried.
func TestAwaitOutlastsNoClockSetBack(t *testing.T) {
	t.Parallel()
	s, srv, clock := startWithClock(t)
	l := ready(t, s, "w1")
	done := make(chan error, 1)
	go func() {
		done <- await(t.Context(), l, 3*time.Second, event.TierLive)
	}()
	require.Eventually(t, func() bool {
		clients, err := srv.Client().Info(t.Context(), "clients").Result()
		return err == nil && infoText(clients, "blocked_clients") == "1"
	}, soon, time.Millisecond)
	clock.Set(setBack)
	begun := time.Now()
	require.NoError(t, <-done)
	require.Less(t, time.Since(begun), soon)
}

// The age of what waits neither ends nor begins again with a jump.
func TestAgesGrowThoughTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	s, _, clock := startWithClock(t)
	appended(t, s, happened("evt_1", "a"))
	_, err := s.Append(t.Context(), Draft{Signal: look("a", event.Reconcile)})
	require.NoError(t, err)
	begun := time.Now()
	ages := func() (live, background time.Duration) {
		shards, err := s.InStreams(t.Context(), "lemon")
		require.NoError(t, err)
		return shards[0].Oldest, shards[0].OldestBackground
	}
	require.Eventually(t, func() bool { live, _ := ages(); return live >= 200*time.Millisecond }, soon, 10*time.Millisecond)
	before, _ := ages()
	clock.Set(setBack)
	live, background := ages()
	// The jump is known to the millisecond, so an age can lose as much.
	require.GreaterOrEqual(t, live, before-10*time.Millisecond)
	require.Positive(t, background)
	require.Eventually(t, func() bool { live, _ := ages(); return live > before+500*time.Millisecond }, soon, 10*time.Millisecond)
	live, _ = ages()
	require.LessOrEqual(t, live, time.Since(begun)+time.Second)

	// To who looks for the first time it is at least there.
	other := openStreams(t, s.opts)
	shards, err := other.InStreams(t.Context(), "lemon")
	require.NoError(t, err)
	require.Positive(t, shards[0].Oldest)
}
