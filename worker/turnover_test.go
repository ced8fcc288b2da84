package worker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A full source waits for room while it settles what is in flight within seconds.
func TestTurnover(t *testing.T) {
	const entries = 20_000
	at := time.Now()
	var o turnover
	ask := func(after time.Duration) bool {
		at = at.Add(after)
		return o.isSlow(entries, at)
	}
	require.False(t, ask(0), "nothing is known")
	o.settle(167)
	require.False(t, ask(turnoverWindow/2))
	require.False(t, ask(turnoverWindow/2), "more than 333 a second")
	for _, slow := range []bool{false, true} {
		o.settle(166)
		require.Equal(t, slow, ask(turnoverWindow), "fewer, in one window or in two")
	}
	o.settle(entries)
	require.True(t, ask(turnoverWindow/2), "as the last windows had it")
	require.False(t, ask(turnoverWindow/2))
	require.False(t, ask(turnoverWindow), "none at all")
	require.True(t, ask(turnoverWindow))
	require.False(t, ask(time.Minute), "it was not full for a while")
}
