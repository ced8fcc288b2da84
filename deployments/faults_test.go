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
		flags []string
		found bool
	}{
		"as make build does": {nil, false},
		"with the tag":       {[]string{"-tags", "fault"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), "worker")
			args := append(append([]string{"build", "-o", binary}, tc.flags...), "../worker/cmd")
			out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
			require.NoError(t, err, string(out))
			text, err := os.ReadFile(binary)
			require.NoError(t, err)
			require.Equal(t, tc.found, bytes.Contains(text, []byte("TARN_FAULT")))
		})
	}
}
