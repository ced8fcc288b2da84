package fleet

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	sim "github.com/tarn-sync/tarn/deployments/simulator"
)

func TestOdd(t *testing.T) {
	all := len(oddWays)
	for in, want := range map[string]int{"true": all, "1": all, "all": all, "false": 0, "": 0, "cut": 1, "cut,gone,cut": 2, "-cut,-gone": all - 2, "cut,-cut": 0} {
		var o Odd
		require.NoError(t, o.Set(in), in)
		require.Len(t, o, want, in)
	}
	var o Odd
	require.ErrorContains(t, o.Set("cut,no-such"), `no way is called "no-such"; there are bad-pages, cut,`)

	require.NoError(t, o.Set("all"))
	before := sim.Chaos{Latency: 1}
	c := o.Chaos(before)
	require.NoError(t, c.Check())
	require.Equal(t, before.Latency, c.Latency, "what was set stays")
	for _, name := range OddWays() {
		one := Odd{name}
		c, l := one.Chaos(before), one.Load(sim.Load{})
		require.NoError(t, c.Check())
		require.False(t, l == sim.Load{} && assert.ObjectsAreEqual(before, c), "%s does nothing", name)
		require.True(t, o.Has(name))
	}
}
