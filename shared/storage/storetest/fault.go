package storetest

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// Without runs f with a guarantee switched off, in a build that has faults. Faults are read
// from the environment once, so the test that calls it is begun again, as a process of its
// own, and f runs there.
func Without(t *testing.T, fault string, f func()) {
	t.Helper()
	const child = "TARN_TEST_CHILD"
	if os.Getenv(child) == t.Name() {
		f()
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$") //nolint:gosec // the test itself
	cmd.Env = append(os.Environ(), child+"="+t.Name(), "TARN_FAULT="+fault)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
