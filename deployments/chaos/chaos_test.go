package main

import (
	"bytes"
	"context"
	"os"
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

// try makes one run and logs its story. It must come to a verdict.
func try(t *testing.T, o options) verdict {
	t.Helper()
	v, err := attempt(t, o)
	require.NoError(t, err)
	return v
}

func attempt(t *testing.T, o options) (verdict, error) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	var story bytes.Buffer
	v, err := run(ctx, programs, o, &story)
	t.Logf("%s%v", story.String(), v)
	return v, err
}

// Half a minute in which everything goes wrong, Redis losing all it has
// included: nothing is lost, wrong, turned back, out of order or left over.
func TestHalfAMinuteOfChaos(t *testing.T) {
	v := try(t, options{duration: 30 * time.Second, seed: 7})
	require.True(t, v.clean(), v.String())
	require.Empty(t, v.failures)
}

// The same of a provider that is odd in every way meanwhile, but for less time.
func TestAnOddProvider(t *testing.T) {
	o := options{duration: 10 * time.Second, seed: 3, entities: 300, only: []string{"kill-worker", "kill-api", "cut-redis", "webhooks-late"}, odd: fleet.OddWays()}
	v := try(t, o)
	require.True(t, v.clean(), v.String())
	require.Zero(t, v.dead)
}

// The same of Stripe, for less time.
func TestStripe(t *testing.T) {
	v := try(t, options{provider: simulator.Stripe, duration: 15 * time.Second, seed: 7, entities: 300})
	require.True(t, v.clean(), v.String())
	require.Zero(t, v.dead)
}

// A check that cannot fail proves nothing: with one guarantee switched off at a
// time, the line must turn red where that guarantee is looked at, though the
// reconciler may heal what it can: in one of several tries, since on a machine with
// other things to do two processes may never meet. The same run with the
// guarantee is clean.
func TestControls(t *testing.T) {
	t.Parallel()
	// Without the fence a write that began long ago replaces a newer one. Leases
	// that are off, a lock that ends before the fetch and a provider that shows
	// old states make that a matter of seconds.
	overtaking := options{
		duration: 8 * time.Second, seed: 1, only: []string{"provider-stale"}, every: time.Second,
		latency: 500 * time.Millisecond, leaseTTL: 500 * time.Millisecond, entities: 60, alone: true,
	}
	for _, tc := range []struct {
		name string
		o    options
		off  []string // program:name
		of   control
	}{
		{"claims", overtaking, []string{"worker:leases", "worker:claims"}, control{lookAtTurns, func(v verdict) int { return v.regressed }, true}},
		{"leases", options{duration: 6 * time.Second, seed: 1, only: []string{"add-worker"}, latency: 20 * time.Millisecond, entities: 100, alone: true},
			[]string{"worker:leases"}, control{lookAtLog, func(v verdict) int { return v.inversions }, true}},
		{"append", options{duration: 8 * time.Second, seed: 1, only: []string{"kill-api"}, every: 400 * time.Millisecond, entities: 100, alone: true},
			[]string{"api:append"}, control{lookAtLog, func(v verdict) int { return v.lost }, false}},
		{"acks", options{duration: 8 * time.Second, seed: 1, only: []string{"kill-worker"}, every: time.Second, latency: 100 * time.Millisecond, entities: 100, leaseTTL: time.Second, alone: true},
			[]string{"worker:acks"}, control{lookAtLog, func(v verdict) int { return v.lost + v.unsettled }, false}},
		{"recover", options{duration: 8 * time.Second, seed: 1, only: []string{"flush-redis"}, latency: 100 * time.Millisecond, entities: 100},
			[]string{"reconciler:recover"}, control{lookAtLog, func(v verdict) int { return v.unsettled }, false}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := tc.o
			o.drain = 12 * time.Second
			turnsRed(t, o, tc.of, tc.off)
		})
	}
}

// turnsRed runs with guarantees switched off, in the form PROGRAM:NAME, and wants the
// line to be red in one of five tries.
func turnsRed(t *testing.T, o options, of control, off []string) {
	t.Helper()
	o.off, o.control = map[string]string{}, &of
	for _, what := range off {
		require.NoError(t, o.switchOff(what))
	}
	var v verdict
	for range 5 {
		var err error
		if v, err = attempt(t, o); err == nil && of.red(v) > 0 {
			v.accepted = 1
			require.False(t, v.clean(), "the line does not count it")
			return
		}
		o.seed++
	}
	require.Fail(t, "the line is not red", v.String())
}

// The same as the control of the claims, but with the claims: whichever other
// guarantee is broken, the mirror does not turn back.
func TestClaimsAloneKeepTheMirrorFromTurningBack(t *testing.T) {
	t.Parallel()
	o := options{
		duration: 8 * time.Second, seed: 1, only: []string{"provider-stale"}, every: time.Second,
		latency: 500 * time.Millisecond, leaseTTL: 500 * time.Millisecond, entities: 60, alone: true,
		off: map[string]string{}, drain: 12 * time.Second,
	}
	require.NoError(t, o.switchOff("worker:leases"))
	var v verdict
	for range 5 { // on a machine with other things to do two processes may never meet
		v = try(t, o)
		require.Zero(t, v.regressed, "%v", v)
		if v.staleRefused > 0 {
			return
		}
		o.seed++
	}
	require.Fail(t, "nothing tried to turn it back", v.String())
}

func TestScheduleIsTheSeeds(t *testing.T) {
	at := func(seed uint64) (names []string) {
		plan, err := schedule(options{duration: time.Minute, seed: seed, every: time.Second})
		require.NoError(t, err)
		for _, e := range plan {
			names = append(names, e.at.String()+" "+e.name)
		}
		return names
	}
	require.Equal(t, at(1), at(1))
	require.NotEqual(t, at(1), at(2))
	dealt := map[string]bool{}
	plan, err := schedule(options{duration: 2 * time.Minute, seed: 1, every: time.Second, commands: true})
	require.NoError(t, err)
	for _, e := range plan {
		dealt[e.name] = true
	}
	for _, name := range faultNames() {
		require.True(t, dealt[name], "two minutes without %s", name)
	}
	require.Len(t, options{provider: simulator.Lemon}.announcement(), 1)
	stripe := options{provider: simulator.Stripe, duration: 2 * time.Minute, seed: 1, every: time.Second}
	require.Equal(t, []string{"provider-stale is left out: no object of stripe proves that an answer is old, so the mirror would show it until the second look"}, stripe.announcement()[1:])
	plan, err = schedule(stripe)
	require.NoError(t, err)
	for _, e := range plan {
		require.NotEqual(t, "provider-stale", e.name, "Stripe does not")
	}
	_, err = schedule(options{duration: time.Minute, only: []string{"no-such"}})
	require.Error(t, err)
}
