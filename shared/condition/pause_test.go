package condition_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/fate"
)

// The one table of what a failed probe means for a source.
func TestPausesAfterAProbe(t *testing.T) {
	boom := errors.New("boom\nwith a stack")
	for name, c := range map[string]struct {
		probe        error
		kind         condition.PauseKind
		people, slow bool
	}{
		"unclassified": {boom, condition.PausedDown, true, false},
		"transient":    {fate.New(fate.Transient, boom), condition.PausedDown, true, false},
		"throttled":    {fate.New(fate.Throttled, boom), condition.PausedThrottled, false, true},
		"refused":      {fate.New(fate.Refused, boom), condition.PausedRefused, true, false},
		"gone":         {fate.New(fate.Gone, boom), condition.PausedMisconfigured, true, false},
		"permanent":    {fate.New(fate.Permanent, boom), condition.PausedMisconfigured, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := condition.Pauses{}.After(c.probe, 0)
			require.Equal(t, c.kind, p.Kind)
			require.Equal(t, time.Second, p.For)
			require.Equal(t, c.kind.Words()+": boom", p.Reason)
			require.Equal(t, c.people, p.Kind.WantsAHuman())
			require.Equal(t, c.slow, p.Kind.SlowsThePace())
		})
	}
	for strikes, want := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 5: 32 * time.Second, 6: time.Minute, 500: time.Minute} {
		require.Equal(t, want, condition.Pauses{}.Length(strikes))
	}
	asked := fate.New(fate.Throttled, boom)
	asked.RetryAfter = 10 * time.Minute
	require.Equal(t, 10*time.Minute, condition.Pauses{}.After(asked, 3).For, "what the provider asks for goes before")
	require.False(t, condition.PausedByHand.WantsAHuman())
	require.Equal(t, "of_tomorrow", condition.PauseKind("of_tomorrow").Words())
	require.True(t, condition.PauseKind("of_tomorrow").WantsAHuman())
}

// Reasons begin with these words, from which a version that knows no kinds tells
// them, and alerts have them as their class.
func TestEachKindOfPauseHasItsWords(t *testing.T) {
	words := map[condition.PauseKind]string{
		condition.PausedByHand: "paused by hand", condition.PausedThrottled: "throttled", condition.PausedUsedUp: "rate limit used up",
		condition.PausedDown: "source is down", condition.PausedRefused: "credentials refused", condition.PausedMisconfigured: "misconfigured",
	}
	require.Len(t, words, len(condition.PauseKinds))
	for _, k := range condition.PauseKinds {
		require.Equal(t, words[k], k.Words())
	}
}
