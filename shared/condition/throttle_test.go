package condition_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/condition"
)

// Two that are always answered 429 do not pause a quiet source for ever.
func TestTheSameTwoAreBlamedOnce(t *testing.T) {
	var th condition.Throttle
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
		var th condition.Throttle
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
	var quiet condition.Throttle // all is refused, and nothing answered: it is the source
	for range 20 {
		quiet.Another("x")
		quiet.Another("y")
		require.True(t, quiet.Another("z"))
	}
}
