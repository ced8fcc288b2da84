package probe_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/probe"
)

// Two that are always answered 429 do not pause a quiet source for ever.
func TestTheSameTwoAreBlamedOnce(t *testing.T) {
	var th probe.Throttle
	require.False(t, th.Another("x"))
	require.True(t, th.Another("y"))
	for range 3 {
		require.False(t, th.Another("x"))
		require.False(t, th.Another("y"))
	}
	require.True(t, th.Another("z"), "a third one says that it is the source")
	th.Answered("w")
	require.False(t, th.Another("x"))
	require.True(t, th.Another("y"), "something was answered since")
}

// However many are always answered 429, they stop to pause the source once others
// have been answered otherwise a few times; those that were answered since count
// again, and so do new ones.
func TestSeveralThatAreAlwaysThrottledDoNotTakeTurns(t *testing.T) {
	for _, n := range []int{3, 50} {
		var th probe.Throttle
		pauses := 0
		for range 20 {
			paused := false
			for i := range n {
				switch {
				case paused:
					th.Refused(i) // it was asked already
				case th.Another(i):
					paused = true
					pauses++
				}
			}
			th.Answered("good")
		}
		require.Equal(t, 2, pauses, "of %d", n)
		require.False(t, th.Another("new"))
		require.False(t, th.Another(0), "no sign of the source")
		require.True(t, th.Another("newer"), "two new ones are")
		th.Answered(0)
		require.False(t, th.Another(0))
		require.True(t, th.Another("newer"))
	}
	var quiet probe.Throttle // all is refused, and nothing answered: it is the source
	for range 20 {
		quiet.Another("x")
		quiet.Another("y")
		require.True(t, quiet.Another("z"))
	}
}

// A proof does not become valid since Redis' clock was set back.
func TestAProofFromBeforeTheClockWasSetBack(t *testing.T) {
	base := time.Now()
	asked := base.Add(time.Hour)
	// Found two minutes ago, when Redis' clock was two hours ahead.
	p := probe.Proof{From: base.Add(2*time.Hour - 2*time.Minute), Begun: base.Add(-2 * time.Minute), By: base.Add(-2 * time.Minute)}
	require.False(t, p.Between(base.Add(-time.Minute), asked, base), "the entity was lost a minute ago, after the proof")
	require.True(t, p.Between(base.Add(-3*time.Minute), asked, base))
	p.From = base.Add(-2 * time.Minute)
	require.False(t, p.Between(base.Add(-time.Minute), asked, base))
	require.True(t, p.Between(base.Add(-3*time.Minute), asked, base))
	require.False(t, p.Between(base.Add(-3*time.Minute), p.By.Add(-time.Second), base))
	require.False(t, probe.Proof{}.Between(time.Time{}, asked, base))
}
