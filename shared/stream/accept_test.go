package stream

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
)

// A pause has a kind beside its text. One that an older version made has a text
// alone, and that a newer one's kind is still beside it proves nothing.
func TestThePauseOfAnOlderVersionIsRead(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	ctx := t.Context()
	refused := condition.NewPause(condition.PausedRefused, time.Hour, "401")
	refused.Witnesses = []string{"order"}
	require.NoError(t, s.PauseAs(ctx, "lemon", refused, "w1"))
	state := func() condition.State {
		st, err := s.Source(ctx, "lemon")
		require.NoError(t, err)
		g, err := s.Take(ctx, "lemon", 0, 1, Rate{Limit: 1})
		require.NoError(t, err)
		require.Equal(t, st, g.Source)
		return st
	}
	require.Equal(t, condition.PausedRefused, state().Kind)
	require.Equal(t, []string{"order"}, state().Witnesses)
	key := s.keys.source("lemon")
	for reason, want := range map[string]condition.PauseKind{
		"throttled: 429": condition.PausedThrottled, "rate limit used up: soon": condition.PausedUsedUp, "probe failed: 500": condition.PausedDown,
		"source is down: 500": condition.PausedDown, "misconfigured: known entities": condition.PausedMisconfigured,
	} {
		require.NoError(t, s.client.HSet(ctx, key, "reason", reason).Err())
		require.Equal(t, want, state().Kind, reason)
		require.Empty(t, state().Witnesses)
	}
	require.NoError(t, s.client.HSet(ctx, key, "until", "0").Err())
	for reason, want := range map[string]condition.PauseKind{
		"throttled, waiting for support": condition.PausedByHand, "misconfigured: too many": condition.PausedMisconfigured,
	} {
		require.NoError(t, s.client.HSet(ctx, key, "reason", reason).Err())
		require.Equal(t, want, state().Kind, reason)
	}
}

// Deletions are accepted for a time. More left than was ever given means that
// Redis' clock was set back.
func TestAcceptedDeletionsEnd(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	ctx := t.Context()
	left := func() time.Duration {
		d, err := s.DeletionsAccepted(ctx, "lemon")
		require.NoError(t, err)
		return d
	}
	require.Zero(t, left())
	require.NoError(t, s.Pause(ctx, "lemon", 0, "by hand", "ops"))
	require.NoError(t, s.ResumeAccepting(ctx, "lemon", "ops"))
	require.Positive(t, left())
	state, err := s.Source(ctx, "lemon")
	require.NoError(t, err)
	require.False(t, state.Paused)
	require.NoError(t, s.client.PExpire(ctx, s.keys.accepted("lemon"), 3*time.Hour).Err())
	require.Zero(t, left())
	require.NoError(t, s.ResumeAccepting(ctx, "lemon", "ops"))
	require.NoError(t, s.Resume(ctx, "lemon"))
	require.Zero(t, left())
}

// A failure in between does not end what a pause waits for.
func TestAPauseGoesOnWaitingForWitnesses(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	wait := condition.NewPause(condition.PausedMisconfigured, 10*time.Millisecond, "nothing is found")
	wait.Witnesses = []string{"order"}
	require.NoError(t, s.PauseAs(t.Context(), "lemon", wait, "w1"))
	require.NoError(t, s.PauseAs(t.Context(), "lemon", condition.NewPause(condition.PausedDown, time.Hour, "503"), "w2"))
	state, err := s.Source(t.Context(), "lemon")
	require.NoError(t, err)
	require.Equal(t, condition.PausedMisconfigured, state.Kind)
	require.Equal(t, []string{"order"}, state.Witnesses)
	require.Equal(t, wait.Reason, state.Reason)
	require.Greater(t, time.Until(state.Until), 30*time.Minute, "it lasts as long as the later one wants")
	require.NoError(t, s.Pause(t.Context(), "lemon", 0, "support", "ops"))
	state, err = s.Source(t.Context(), "lemon")
	require.NoError(t, err)
	require.Equal(t, condition.PausedByHand, state.Kind)
	require.Empty(t, state.Witnesses)
}
