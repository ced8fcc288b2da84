//go:build fault

package sqlite_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

// TestFaultClaimsOff: the negative control takes the guard away. Faults are read
// from the environment once, so it is a process of its own.
func TestFaultClaimsOff(t *testing.T) {
	const child = "TARN_TEST_CLAIMS_OFF"
	if os.Getenv(child) != "" {
		require.NotEmpty(t, storetest.FenceViolations(t, open(t, filepath.Join(t.TempDir(), "tarn.db"))))
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFaultClaimsOff$")
	cmd.Env = append(os.Environ(), child+"=1", "TARN_FAULT=claims-off")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// TestFaultClaimsOn: without it the same build keeps the guard.
func TestFaultClaimsOn(t *testing.T) {
	require.Empty(t, storetest.FenceViolations(t, open(t, filepath.Join(t.TempDir(), "tarn.db"))))
}
