package condition_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
)

func TestPaceFallsByRefusalsAndComesBack(t *testing.T) {
	now, rate := time.Now(), condition.Rate{Limit: 100, Per: time.Second}
	var p condition.Pace
	of := func(r condition.Rate, now time.Time) float64 { return p.Of(r, condition.Rate{}, now).PerSecond() }
	require.InDelta(t, 100, of(rate, now), 0.01)
	p.Refused(now)
	require.InDelta(t, 70, of(rate, now), 0.01)
	require.InDelta(t, 80, of(rate, now.Add(2*time.Second)), 0.01)
	require.InDelta(t, 100, of(rate, now.Add(time.Minute)), 0.01, "never above what is configured")
	for range 50 {
		p.Refused(now)
	}
	require.InDelta(t, 10, of(rate, now), 0.01, "it never stops")
	require.InDelta(t, 0.1, p.Share(now), 0.001)
	require.InDelta(t, 1./10/60, of(condition.Rate{Limit: 1, Per: time.Minute}, now), 1e-4, "a limit of one is asked for less often")
	require.Zero(t, p.Of(condition.Rate{}, condition.Rate{}, now).Limit, "unlimited stays unlimited")
}

func TestPaceFollowsWhatTheProviderTells(t *testing.T) {
	for name, c := range map[string]struct {
		rate, told condition.Rate
		want       float64
	}{
		"less than configured":       {condition.Rate{Limit: 100}, condition.Rate{Limit: 30, Per: 10 * time.Second}, 3},
		"more than configured":       {condition.Rate{Limit: 2}, condition.Rate{Limit: 30, Per: 10 * time.Second}, 2},
		"no rate configured":         {condition.Rate{}, condition.Rate{Limit: 30, Per: 10 * time.Second}, 3},
		"nothing told":               {condition.Rate{Limit: 2, Per: time.Second}, condition.Rate{}, 2},
		"a minute's limit, a window": {condition.Rate{Limit: 60, Per: time.Minute}, condition.Rate{Limit: 1, Per: 2 * time.Second}, 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			var p condition.Pace
			require.InDelta(t, c.want, p.Of(c.rate, c.told, time.Now()).PerSecond(), 0.01)
		})
	}
}
