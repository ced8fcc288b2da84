package fleet

import (
	"testing"

	"github.com/stretchr/testify/require"

	sim "github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/provider"
)

// A hurried definition is the built-in one but for how long is waited for what becomes of a
// command.
func TestHurriedDefinitions(t *testing.T) {
	for _, name := range []string{sim.Lemon, sim.Stripe} {
		path, err := Plan{Provider: name, Dir: t.TempDir()}.hurry(t.Context())
		require.NoError(t, err)
		hurried, err := provider.Load(path)
		require.NoError(t, err)
		builtin, err := provider.Builtin(name)
		require.NoError(t, err)
		require.Equal(t, hurriedWrite, hurried.WriteTimeout())
		require.Greater(t, builtin.WriteTimeout(), hurried.WriteTimeout())
		require.Equal(t, builtin.Name, hurried.Name)
		ops := 0
		for _, k := range builtin.Kinds() {
			for _, op := range k.Ops() {
				ops++
				other, err := hurried.Op(k.Name, op.Name)
				require.NoError(t, err)
				require.Equal(t, op.Unclear, other.Unclear, "%s %s %s", name, k.Name, op.Name)
				require.Equal(t, hurriedLooks, other.Settle, "%s %s %s", name, k.Name, op.Name)
			}
		}
		require.Greater(t, ops, 5)
	}
}
