package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
)

var programs *fleet.Programs // made by TestMain

func TestMain(m *testing.M) {
	var err error
	if programs, err = fleet.NewPrograms(); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = programs.Close()
	os.Exit(code)
}

// A short run. Before the sweeps the same judgement must be a bad one, or it
// sees nothing.
func TestDrift(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	require.NoError(t, programs.Build(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	r, err := start(ctx, programs, options{seed: 42, entities: 300, life: 5}, t.Output())
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			r.lastWords()
		}
		require.NoError(t, r.close())
	})
	require.NoError(t, r.fill(ctx))
	require.NoError(t, r.whole(ctx))
	require.NoError(t, r.lossy(ctx))
	require.NoError(t, r.silent(ctx))
	before, err := r.judge(ctx, 0)
	require.NoError(t, err)
	// Second looks that workers hold back come due meanwhile and make some of them
	// true without any sweep: one or two, but more on a machine that is slow. All
	// that this control needs is that most are seen.
	require.LessOrEqual(t, before.wrong, len(r.injected.differed))
	require.Greater(t, before.wrong, len(r.injected.differed)/2)
	require.Equal(t, before.wrong+len(r.injected.lost), before.remaining)
	require.Zero(t, before.found)

	require.NoError(t, r.sweeps(ctx))
	v, err := r.judge(ctx, heldBack)
	require.NoError(t, err)
	v.write(t.Output())
	require.True(t, v.clean(), v.String())
	require.Greater(t, v.eventGaps, len(r.injected.lost)/2, "what a killed reconciler had appended and not recorded may be missing, no more")
	require.Greater(t, v.found, v.eventGaps, "no sweep has found anything")
	require.GreaterOrEqual(t, v.deletes, len(r.injected.drifted.Deleted))
	require.Equal(t, v.found, v.repaired)
}

// A shorter run still, with a provider that is odd in every way. What moved in
// silence is found as well.
func TestAnOddProvider(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	v, err := drift(t.Context(), programs, options{seed: 5, entities: 120, life: 2, within: 5 * time.Minute, odd: fleet.OddWays()}, t.Output())
	require.NoError(t, err)
	require.True(t, v.clean(), v.String())
	require.Positive(t, v.found)
}

// The same of Stripe. Sweeps find what changed in silence, the elements of a list that
// its GET does not show included.
func TestStripe(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs processes")
	}
	require.NoError(t, programs.Build(t.Context()))
	v, err := drift(t.Context(), programs, options{provider: simulator.Stripe, seed: 3, entities: 200, life: 5, within: 10 * time.Minute}, t.Output())
	require.NoError(t, err)
	require.True(t, v.clean(), v.String())
	require.Greater(t, v.found, v.eventGaps, "no sweep has found anything")
}

// The line is what others read: its form is fixed.
func TestTheLine(t *testing.T) {
	v := &verdict{injected: 9, found: 8, repaired: 7, eventGaps: 6, deletes: 5, apiCalls: 4}
	var out strings.Builder
	v.detail(0, "not shown last")
	v.write(&out)
	require.True(t, v.clean())
	require.True(t, strings.HasSuffix(out.String(),
		"\ndrift: injected=9 found=8 false=0 repaired=7 remaining=0 event_gaps=6 deletes=5 api_calls=4 wrong=0\n"))
	for _, bad := range []*verdict{{mistaken: 1}, {remaining: 1}, {wrong: 1}} {
		require.False(t, bad.clean(), bad.String())
	}
}
