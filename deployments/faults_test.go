package deployments

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// No switch that turns a guarantee off is in a binary that ships. The build
// with the tag is the control: there the names are found.
func TestNoFaultShips(t *testing.T) {
	if testing.Short() {
		t.Skip("links binaries")
	}
	for name, tc := range map[string]struct {
		tags  string
		found bool
	}{
		"as make build does": {Tags(), false},
		"with the tag":       {Tags("fault"), true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), "worker")
			build(t, binary, "-tags", tc.tags, "../worker/cmd")
			text, err := os.ReadFile(binary)
			require.NoError(t, err)
			require.Equal(t, tc.found, bytes.Contains(text, []byte("TARN_FAULT")))
		})
	}
}

// A dependency that calls methods by name makes the linker keep all methods of
// everything; see Tags.
func TestWhatShipsIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("links binaries")
	}
	const megabytes = 30
	for _, program := range []string{"api", "worker", "reconciler"} {
		t.Run(program, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), program)
			build(t, binary, "-tags", Tags(), "-ldflags", "-s -w", "../"+program+"/cmd")
			info, err := os.Stat(binary)
			require.NoError(t, err)
			t.Logf("%.1f MB", float64(info.Size())/1e6)
			require.LessOrEqual(t, info.Size(), int64(megabytes*1e6))
		})
	}
}

func build(t *testing.T, binary string, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"build", "-o", binary}, args...)...).CombinedOutput()
	require.NoError(t, err, string(out))
}
