package compose

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// nameless copies the compose file without its name, which docker-compose 1.29 refuses.
func nameless(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docker/compose.yaml")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "compose.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), "\nname: tarn\n", "\n", 1)), 0o600))
	return file
}

// Compose reads the override together with the file that it changes.
func TestComposeReadsTheOverride(t *testing.T) {
	compose := []string{"docker", "compose"}
	if exec.CommandContext(t.Context(), "docker", "compose", "version").Run() != nil {
		compose = []string{"docker-compose"}
	}
	if _, err := exec.LookPath(compose[0]); err != nil {
		t.Skip("there is no docker-compose")
	}
	args := []string{"--project-name", "tarn-e2e", "--project-directory", "../docker", "--file", nameless(t), "--file", "override.yaml", "--profile", "demo", "config"}
	cmd := exec.CommandContext(t.Context(), compose[0], append(compose[1:len(compose):len(compose)], args...)...) //nolint:gosec // compose
	cmd.Env = append(os.Environ(), "TARN_IMAGE=tarn:test", "E2E_DATA=/tmp", "E2E_REDIS_PORT=1", "E2E_SIMULATOR_PORT=2", "E2E_RETRIES=1s")
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	for _, changed := range []string{"tarn:test", "tarn-e2e-redis", "tarn-e2e-haproxy", "--retries=1s", "/tmp:/data"} {
		require.Contains(t, string(said), changed)
	}
	require.Contains(t, string(said), "\n  mongo", "what the override leaves as it is")
}
