//go:build e2e

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/image/names"
)

// mostOfImage is the size of the image in bytes.
const mostOfImage = 55_000_000

// docker runs the client and returns what it says.
func docker(t *testing.T, args ...string) (string, error) {
	t.Helper()
	said, err := exec.CommandContext(t.Context(), "docker", args...).CombinedOutput()
	return string(said), err
}

func mustDocker(t *testing.T, args ...string) string {
	t.Helper()
	said, err := docker(t, args...)
	require.NoError(t, err, said)
	return said
}

// confined are the flags that compose and Kubernetes start the image with.
var confined = []string{"--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--memory", "256m"}

// The image runs without a shell, a writable root and rights, and is small.
func TestTheImage(t *testing.T) {
	image := os.Getenv("TARN_IMAGE")
	require.NotEmpty(t, image, "make e2e-image sets it")
	var all []struct {
		Size   int64
		Config struct {
			User   string
			Labels map[string]string
		}
	}
	require.NoError(t, json.Unmarshal([]byte(mustDocker(t, "image", "inspect", image)), &all))
	t.Logf("the image has %.1f MB", float64(all[0].Size)/1e6)
	require.LessOrEqual(t, all[0].Size, int64(mostOfImage))
	require.Equal(t, "65532:65532", all[0].Config.User)
	for _, label := range []string{"title", "description", "source", "documentation", "licenses", "version", "revision"} {
		require.NotEmpty(t, all[0].Config.Labels["org.opencontainers.image."+label], label)
	}

	run := func(args ...string) []string { return append(append([]string{"run"}, confined...), args...) }
	for _, name := range names.Programs {
		said := mustDocker(t, run("--rm", image, name, "--version")...)
		require.Contains(t, said, all[0].Config.Labels["org.opencontainers.image.version"], name)
	}

	settings := filepath.Join(t.TempDir(), "tarn.yaml")
	require.NoError(t, os.WriteFile(settings, []byte(`
redis: {url: "redis://127.0.0.1:1"}
store: {url: "sqlite:///data/tarn.db"}
operator_tokens: [{name: ops, token: 0123456789abcdef}]
sources: {lemon: {provider: lemon, api_url: "https://example.com/v1", api_key: k, webhook_secrets: [0123456789abcdef]}}
`), 0o644)) //nolint:gosec // the container's user reads it
	require.NoError(t, os.Chmod(filepath.Dir(settings), 0o755)) //nolint:gosec // likewise
	id := strings.TrimSpace(mustDocker(t, run("--detach", "--volume", settings+":/etc/tarn/tarn.yaml:ro", image, "api", "--config", "/etc/tarn/tarn.yaml")...))
	t.Cleanup(func() { _, _ = exec.Command("docker", "rm", "--force", id).CombinedOutput() })
	check := func(path string) (string, error) {
		return docker(t, "exec", id, "api", "--check", "http://127.0.0.1:8080"+path)
	}
	require.Eventually(t, func() bool { _, err := check("/healthz"); return err == nil }, time.Minute, 100*time.Millisecond)
	said, err := check("/readyz")
	require.Error(t, err, "it waits for Redis")
	require.Contains(t, said, "503")
	logs := mustDocker(t, "logs", id)
	require.Contains(t, logs, `"msg":"memory is bounded by the cgroup"`)
	require.Contains(t, logs, `"cgroup_bytes":268435456`)

	files := map[string]string{}
	archive, err := exec.CommandContext(t.Context(), "docker", "cp", id+":/usr/share/doc/tarn", "-").Output()
	require.NoError(t, err)
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		files[h.Name] = string(text)
	}
	require.Contains(t, files["tarn/sbom.cdx.json"], `"bomFormat": "CycloneDX"`)
	require.Contains(t, files["tarn/LICENCES.md"], "Licences of what ships")

	began := time.Now()
	mustDocker(t, "stop", "--time", "15", id)
	require.Less(t, time.Since(began), 14*time.Second, "SIGTERM reaches it")
}
