package worker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
)

// telling is a provider that tells what is left.
type telling struct {
	left provider.Allowance
	ok   bool
}

func (t telling) Fetch(context.Context, event.Ref, string) (*provider.Snapshot, error) {
	return nil, nil
}
func (t telling) Probe(context.Context) error           { return nil }
func (t telling) Allowance() (provider.Allowance, bool) { return t.left, t.ok }
func perSecond(r stream.Rate) float64                   { return float64(r.Limit) / r.Per.Seconds() }
func (p *pace) perSecondOf(r stream.Rate, now time.Time) float64 {
	return perSecond(p.of(r, telling{}, now))
}

func TestPaceFallsByRefusalsAndComesBack(t *testing.T) {
	p, now, rate := newPace(), time.Now(), stream.Rate{Limit: 100, Per: time.Second}
	require.InDelta(t, 100, p.perSecondOf(rate, now), 0.01)
	p.refused(now)
	require.InDelta(t, 70, p.perSecondOf(rate, now), 0.01)
	require.InDelta(t, 80, p.perSecondOf(rate, now.Add(2*time.Second)), 0.01)
	require.InDelta(t, 100, p.perSecondOf(rate, now.Add(time.Minute)), 0.01, "never above what is configured")
	for range 50 {
		p.refused(now)
	}
	require.InDelta(t, 10, p.perSecondOf(rate, now), 0.01, "it never stops")
	require.InDelta(t, 1./10/60, p.perSecondOf(stream.Rate{Limit: 1, Per: time.Minute}, now), 1e-4, "a limit of one is asked for less often")
	require.Zero(t, p.of(stream.Rate{}, telling{}, now).Limit, "unlimited stays unlimited")
}

func TestPaceFollowsWhatTheProviderTells(t *testing.T) {
	now := time.Now()
	in := func(d time.Duration) time.Time { return now.Add(d) }
	for name, c := range map[string]struct {
		rate stream.Rate
		left telling
		want float64
	}{
		"less than configured":       {stream.Rate{Limit: 100}, telling{provider.Allowance{Remaining: 30, Reset: in(10 * time.Second)}, true}, 3},
		"more than configured":       {stream.Rate{Limit: 2}, telling{provider.Allowance{Remaining: 30, Reset: in(10 * time.Second)}, true}, 2},
		"no rate configured":         {stream.Rate{}, telling{provider.Allowance{Remaining: 30, Reset: in(10 * time.Second)}, true}, 3},
		"nothing told":               {stream.Rate{Limit: 2, Per: time.Second}, telling{}, 2},
		"nothing left is a pause":    {stream.Rate{Limit: 2, Per: time.Second}, telling{provider.Allowance{Reset: in(time.Hour)}, true}, 2},
		"a minute's limit, a window": {stream.Rate{Limit: 60, Per: time.Minute}, telling{provider.Allowance{Remaining: 1, Reset: in(2 * time.Second)}, true}, 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			got := newPace().of(c.rate, c.left, now)
			if got.Per == 0 {
				got.Per = time.Second
			}
			require.InDelta(t, c.want, perSecond(got), 0.01)
		})
	}
}
