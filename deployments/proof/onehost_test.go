package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// The settings that the guide shows start an api, a worker and a reconciler on
// one host, all from the same file, and each line they log is JSON, also while
// Redis is away.
func TestOneFileForOneHost(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs processes")
	}
	redis := redistest.Start(t)
	file, addresses := guideSettings(t, "../../shared/config/README.md", redis.URL())
	for i, program := range []string{fleet.API, fleet.Worker, fleet.Reconciler} {
		runProgram(t, program, file)
		require.Eventually(t, func() bool { return ready(addresses[i]) }, time.Minute, 50*time.Millisecond, program)
	}
	t.Run("a second worker", func(t *testing.T) {
		binary, err := programs.Path(t.Context(), fleet.Worker, false)
		require.NoError(t, err)
		second := exec.CommandContext(t.Context(), binary, "--config", file) //nolint:gosec // our binary
		second.Env = append(os.Environ(), secrets...)
		said, err := second.CombinedOutput()
		require.Error(t, err)
		require.Contains(t, string(said), "http.worker_addr: "+addresses[1]+" is in use by another process of this host")
		require.Contains(t, string(said), "TARN_HTTP__WORKER_ADDR")
		own := freeAddr(t)
		runProgram(t, fleet.Worker, file, "TARN_HTTP__WORKER_ADDR="+own)
		require.Eventually(t, func() bool { return ready(own) }, time.Minute, 50*time.Millisecond)
	})
	redis.Kill()
	for _, addr := range addresses {
		require.Eventually(t, func() bool { return !ready(addr) }, time.Minute, 50*time.Millisecond)
	}
}

// guideSettings writes the first YAML of a guide to a file, with addresses that
// are free here in the place of those it shows, and returns the addresses of the
// api, a worker and a reconciler.
func guideSettings(t *testing.T, guide, redis string) (file string, addresses []string) {
	t.Helper()
	text, err := os.ReadFile(guide)
	require.NoError(t, err)
	settings := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(text)
	require.NotNil(t, settings, "%s shows no settings", guide)
	said := string(settings[1])
	dir := t.TempDir()
	replace := func(old, to string) {
		require.Contains(t, said, old)
		said = strings.ReplaceAll(said, old, to)
	}
	for _, port := range []string{":8080", ":8081", ":8082"} {
		addr := freeAddr(t)
		replace(`"`+port+`"`, `"`+addr+`"`)
		addresses = append(addresses, addr)
	}
	replace("redis://127.0.0.1:6379", redis)
	replace("mongodb://127.0.0.1:27017/tarn", "sqlite://"+dir+"/tarn.db")
	replace("https://sandbox.api.lemon.markets/v1", "http://127.0.0.1:1/v1")
	file = filepath.Join(dir, "tarn.yaml")
	require.NoError(t, os.WriteFile(file, []byte(said), 0o600))
	return file, addresses
}

// secrets are the environment variables of the settings.
var secrets = []string{"TARN_OPS_TOKEN=0123456789abcdef", "LEMON_API_KEY=key", "LEMON_WEBHOOK_SECRET=0123456789abcdef", "BILLING_SECRET=whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"}

// runProgram runs a program until the test ends. It must end with status 0 then,
// and have logged JSON only.
func runProgram(t *testing.T, program, file string, environ ...string) {
	t.Helper()
	binary, err := programs.Path(t.Context(), program, false)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	c := exec.CommandContext(ctx, binary, "--config", file) //nolint:gosec // our binary
	c.Env = append(os.Environ(), append(environ, secrets...)...)
	var said words
	c.Stdout, c.Stderr = &said, &said
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		stop()
		if err := c.Wait(); !errors.Is(err, context.Canceled) { // which is how a clean end looks
			require.NoError(t, err, said.String())
		}
		for line := range strings.Lines(said.String()) {
			require.True(t, json.Valid([]byte(line)), "%s logs: %s", program, line)
		}
	})
}

// words is the output of a process, read while it runs.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := fleet.FreeAddr()
	require.NoError(t, err)
	return addr
}

func ready(addr string) bool {
	res, err := http.Get(fmt.Sprintf("http://%s/readyz", addr))
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, res.Body) // the status alone counts
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}
