package deployments

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// startStandin builds a program of the module of stand-ins and runs it for the time of a
// test. It ends when its input is closed.
func startStandin(t *testing.T, name string) (in io.Writer, out io.Reader) {
	t.Helper()
	if testing.Short() {
		t.Skip("building " + name + " takes a minute the first time")
	}
	path := filepath.Join(t.TempDir(), name)
	said, err := exec.CommandContext(t.Context(), "go", "build", "-C", "standins", "-buildvcs=false", "-o", path, "./"+name).CombinedOutput()
	require.NoError(t, err, "%s", said)
	cmd := exec.Command(path)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err = cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, input.Close())
		require.NoError(t, cmd.Wait())
	})
	return input, out
}
