package simulation

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A few seconds of random schedules: order, coverage, never backwards, waiting is
// free, nothing leaves early, nothing is lost, wrong or left over.
func TestInvariantsHold(t *testing.T) {
	e := Explore(1, 3*time.Second, None)
	var text strings.Builder
	require.NoError(t, e.Report(&text))
	require.Nil(t, e.Failed, text.String())
	require.Greater(t, e.Events, 1000)
	t.Logf("%d runs, %d events", e.Runs, e.Events)
}

// A check that cannot fail proves nothing: with one guarantee switched off at a
// time, an invariant that it stands for is broken within so many schedules.
func TestControls(t *testing.T) {
	for off, red := range map[Control][]string{
		Leases:      {"order", "coverage"},
		Lanes:       {"order"},
		Claims:      {"backwards", "wrong"},
		Acks:        {"early"},
		SettleOrder: {"early"},
		Recover:     {"unsettled", "lost"},
		Append:      {"lost"},
		Markers:     {"erased"},
		FeedHints:   {"untold"},
		FeedDebts:   {"untold"},
		FeedFed:     {"untold"},
	} {
		t.Run(string(off), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(300) {
				if o := Run(Draw(seed, off), false); o.Broken != nil {
					require.Contains(t, red, o.Broken.Invariant, "%v", o.Broken)
					t.Logf("schedule %d: %v", seed, o.Broken)
					return
				}
			}
			require.Fail(t, "no schedule breaks an invariant")
		})
	}
	require.Len(t, Controls(), 11)
}

// A plan runs the same each time, transcript included.
func TestAPlanDecidesItsRun(t *testing.T) {
	for seed := range uint64(40) {
		one, two := Run(Draw(seed, None), true), Run(Draw(seed, None), true)
		require.Equal(t, one, two)
	}
}

// A failure is made small enough to be read.
func TestShrink(t *testing.T) {
	p := Draw(1, Lanes)
	o := Run(p, false)
	require.NotNil(t, o.Broken)
	small := Shrink(p, o.Broken.Invariant, 2*time.Minute) // it ends by itself
	again := Run(small, true)
	require.Equal(t, o.Broken.Invariant, again.Broken.Invariant)
	require.LessOrEqual(t, len(small.Deeds), 6)
	require.Less(t, len(again.Lines), 60)
	require.True(t, slices.ContainsFunc(again.Lines, func(l string) bool { return strings.Contains(l, "BROKEN") }))
}
