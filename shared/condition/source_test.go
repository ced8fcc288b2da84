package condition_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/fate"
)

// fleet is one without Redis: each pause may be probed at once.
type fleet struct {
	state  condition.State
	pauses []condition.Pause
	taken  bool // by another process
	asked  func()
}

func (f *fleet) Source(context.Context, string) (condition.State, error) {
	if f.asked != nil {
		f.asked()
	}
	return f.state, nil
}

func (f *fleet) PauseAs(_ context.Context, _ string, p condition.Pause, by string) error {
	f.pauses = append(f.pauses, p)
	strikes := f.state.Strikes + 1
	f.state = condition.State{Paused: true, Kind: p.Kind, Reason: p.Reason, By: by, Witnesses: p.Witnesses, Strikes: strikes, Until: time.Now()}
	return nil
}

func (f *fleet) TakeProbe(context.Context, string, time.Duration) (string, error) {
	if f.taken {
		return "", nil
	}
	return "probe", nil
}

func (f *fleet) EndProbe(context.Context, string, string) (bool, error) {
	f.state = condition.State{}
	return true, nil
}

// scene is a source whose probe path and witnesses answer as the test says.
type scene struct {
	*condition.Source
	fleet     fleet
	probe     error
	probes    int
	answering bool
	changes   []condition.State
}

func newScene() *scene {
	c := &scene{}
	c.Source = condition.New(condition.Options{
		Name: "acme", By: "w1", Fleet: &c.fleet, Logger: slog.New(slog.DiscardHandler),
		Probe:     func(context.Context) error { c.probes++; return c.probe },
		Answering: func(context.Context, []string) (bool, error) { return c.answering, nil },
		Changed:   func(_, now condition.State) { c.changes = append(c.changes, now) },
	})
	return c
}

func TestAFailedProbePausesAndAGoodOneResumes(t *testing.T) {
	ctx, c := t.Context(), newScene()
	require.False(t, c.IsIll(ctx, c.Prober.Ask), "the probe path answers: it is this entity's own failure")
	require.Empty(t, c.fleet.pauses)

	c.probe = fate.Errorf(fate.Refused, "401")
	require.True(t, c.IsIll(ctx, c.Prober.Ask))
	require.Equal(t, condition.NewPause(condition.PausedRefused, time.Second, "401"), c.fleet.pauses[0])
	require.True(t, c.Paused())
	asked := c.probes
	require.True(t, c.IsIll(ctx, c.Prober.Ask))
	require.Equal(t, asked, c.probes, "a paused source is not asked again")

	require.False(t, c.TryResume(ctx, c.State()))
	require.Equal(t, 2*time.Second, c.fleet.pauses[1].For, "the second pause in a row is longer")
	require.True(t, c.Paused())

	c.probe, c.fleet.taken = nil, true
	require.False(t, c.TryResume(ctx, c.State()), "another process asks")
	c.fleet.taken = false
	require.True(t, c.TryResume(ctx, c.State()))
	require.False(t, c.Paused())
	require.Len(t, c.changes, 2, "each change is told once")
}

// The probe path may answer though the account is another one. Only a known
// entity that answers ends such a pause, which keeps its kind and reason.
func TestAPauseWithWitnessesWaitsForThem(t *testing.T) {
	ctx, c := t.Context(), newScene()
	c.PauseFor(ctx, condition.PausedMisconfigured, "nothing is found", []string{"widget"})
	first := c.fleet.pauses[0]
	require.False(t, c.TryResume(ctx, c.State()))
	again := c.fleet.pauses[1]
	require.Equal(t, 2*first.For, again.For)
	again.For = first.For
	require.Equal(t, first, again)
	c.answering = true
	require.True(t, c.TryResume(ctx, c.State()))
	require.False(t, c.Paused())
}

func TestAPauseByHandIsNotProbed(t *testing.T) {
	ctx, c := t.Context(), newScene()
	c.See(condition.State{Paused: true, Kind: condition.PausedByHand}, time.Now())
	require.False(t, c.TryResume(ctx, c.State()))
	require.Zero(t, c.probes)
}

// A bad answer of the probe path from before the source was resumed does not pause
// it again.
func TestAResumedSourceIsAskedAgain(t *testing.T) {
	ctx, c := t.Context(), newScene()
	c.Prober = condition.NewProber(c.Probe, time.Minute) // which gives a bad answer again for as long
	c.probe = errors.New("connection refused")
	require.True(t, c.IsIll(ctx, c.Prober.Ask))
	c.probe = nil
	c.See(condition.State{}, time.Now()) // another process has resumed it
	require.False(t, c.IsIll(ctx, c.Prober.Recent))
}

// A state that was asked for before a pause was seen, and is seen after it, does not
// resume the source for a moment. Nor does one from before a resumption pause it.
func TestAStateThatWasAskedForEarlierIsIgnored(t *testing.T) {
	c := newScene()
	paused := condition.State{Paused: true, Kind: condition.PausedByHand}
	slow := time.Now() // one reader asks, and its answer takes long
	time.Sleep(time.Microsecond)
	c.See(paused, time.Now()) // another asks after the pause was made
	c.See(condition.State{}, slow)
	require.True(t, c.Paused())
	require.Equal(t, []condition.State{paused}, c.changes)

	slow = time.Now()
	time.Sleep(time.Microsecond)
	c.See(condition.State{}, time.Now())
	c.See(paused, slow)
	require.False(t, c.Paused())
	require.Equal(t, []condition.State{paused, {}}, c.changes)

	slow = time.Now()
	time.Sleep(time.Microsecond)
	c.fleet.asked = func() { c.See(condition.State{}, slow) } // it comes while Pause reads what it made
	c.PauseFor(t.Context(), condition.PausedDown, "503", nil)
	c.See(condition.State{}, slow)
	require.True(t, c.Paused(), "what this process paused itself")
	c.See(condition.State{}, time.Now())
	require.False(t, c.Paused(), "what is asked for next counts")
}

func TestOveraskedThoughTheProbePathIsNot(t *testing.T) {
	ctx, c := t.Context(), newScene()
	slow := &fate.Error{Class: fate.Throttled, Status: 429, RetryAfter: time.Hour, Err: errors.New("slow down")}
	require.False(t, c.Overasked(ctx, "x", slow, c.Prober.Recent), "x alone may be locked")
	require.True(t, c.Overasked(ctx, "y", slow, c.Prober.Recent))
	require.Equal(t, condition.NewPause(condition.PausedThrottled, time.Minute, "slow down"), c.fleet.pauses[0], "no longer than a pause may be")
}

func TestStreak(t *testing.T) {
	var s condition.Streak
	require.False(t, s.Fail())
	require.False(t, s.Fail())
	require.True(t, s.Fail())
	require.True(t, s.Fail())
	require.Equal(t, 4, s.Len())
	s.End()
	require.False(t, s.Fail())
}
