package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/reconciler"
	"github.com/tarn-sync/tarn/reconciler/app"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// log is where a program that runs may write to.
type log struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A command that is stopped before it is done says so by its exit status and
// with a line: "in sync" must not be read from what was never compared.
func TestCommandsThatAreCutOff(t *testing.T) {
	cases := map[string]struct {
		args []string
		// before is done before the command begins.
		before func(t *testing.T, server *redistest.Server)
		// busy reports whether the command is at what it is cut off from.
		busy func(asked int, errs string) bool
		out  string
		errs string
	}{
		"verify while a list is slow": {
			args: []string{"verify"},
			busy: func(asked int, _ string) bool { return asked > 0 },
			out:  "shop: not known: cut off: stopped by a signal (0 entities compared, 0 could not be, 0 not due yet, 0 API calls; not compared to the end: customer)\n",
		},
		"verify without redis": {
			args:   []string{"verify"},
			before: func(_ *testing.T, server *redistest.Server) { server.Kill() },
			busy:   func(_ int, errs string) bool { return strings.Contains(errs, "waiting for redis") },
			out:    "shop: not known: cut off: nothing was compared: waiting for redis",
		},
		"backfill without redis": {
			args:   []string{"backfill"},
			before: func(_ *testing.T, server *redistest.Server) { server.Kill() },
			busy:   func(_ int, errs string) bool { return strings.Contains(errs, "waiting for redis") },
			errs:   "backfill was cut off before it was done",
		},
		"backfill of a source that is paused": {
			args: []string{"backfill"}, before: pausedByHand,
			busy: func(_ int, errs string) bool {
				return strings.Contains(errs, "joining") || strings.Contains(errs, "starting")
			},
			errs: "cut off",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 100)
			shop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				<-r.Context().Done()
			}))
			defer shop.Close()
			server := redistest.Start(t)
			if tc.before != nil {
				tc.before(t, server)
			}
			var out, errs log
			status := make(chan int, 1)
			go func() {
				status <- process.Main(app.Program(), process.System{
					Args: append(tc.args, "--config", shopSettings(t, server.URL(), shop.URL)), Stdout: &out, Stderr: &errs,
				})
			}()
			require.Eventually(t, func() bool { return tc.busy(len(asked), errs.String()) }, time.Minute, 5*time.Millisecond)
			require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
			require.Equal(t, 4, <-status, errs.String())
			require.Contains(t, out.String(), tc.out)
			require.Contains(t, errs.String(), tc.errs)
		})
	}
}

func TestACutOffVerifyAsJSON(t *testing.T) {
	asked := make(chan struct{}, 100)
	shop := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	defer shop.Close()
	var out, errs log
	status := make(chan int, 1)
	go func() {
		status <- process.Main(app.Program(), process.System{
			Args: []string{"verify", "--json", "--config", shopSettings(t, redistest.Start(t).URL(), shop.URL)}, Stdout: &out, Stderr: &errs,
		})
	}()
	<-asked
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
	require.Equal(t, 4, <-status, errs.String())
	var report reconciler.Report
	require.NoError(t, json.Unmarshal([]byte(out.String()), &report), out.String())
	require.Equal(t, "stopped by a signal", report.CutOff)
	require.Equal(t, []string{"customer"}, report.NotCompared)
	require.False(t, report.InSync())
}

// A pause by hand has no known end, so verify does not wait: it says what it has
// compared, and why no more.
func TestVerifyOfASourceThatIsPausedByHand(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	pausedByHand(t, server)
	asked := make(chan struct{}, 100)
	shop := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- struct{}{} }))
	defer shop.Close()
	var out, errs log
	status := process.Main(app.Program(), process.System{
		Args: []string{"verify", "--config", shopSettings(t, server.URL(), shop.URL)}, Stdout: &out, Stderr: &errs,
	})
	require.Equal(t, 4, status, errs.String())
	require.Equal(t, "shop: not known: cut off: source shop is paused by hand, by ops (provider's maintenance): resume it first "+
		"(0 entities compared, 0 could not be, 0 not due yet, 0 API calls; not compared to the end: customer)\n", out.String())
	require.Contains(t, errs.String(), `"reason":"provider's maintenance"`)
	require.Empty(t, asked)
}

func pausedByHand(t *testing.T, server *redistest.Server) {
	t.Helper()
	streams, err := stream.Open(context.Background(), stream.Options{URLs: []string{server.URL()}, Shards: 64})
	require.NoError(t, err)
	require.NoError(t, streams.Pause(context.Background(), "shop", 0, "provider's maintenance", "ops"))
	require.NoError(t, streams.Close())
}

// shopSettings writes settings for a shop at an address and returns their path.
func shopSettings(t *testing.T, redisURL, shopURL string) string {
	t.Helper()
	dir := t.TempDir()
	definitionFile, settings := filepath.Join(dir, "shop.yaml"), filepath.Join(dir, "tarn.yaml")
	require.NoError(t, os.WriteFile(definitionFile, []byte(definition), 0o600))
	require.NoError(t, os.WriteFile(settings, fmt.Appendf(nil, `
redis: {url: %q}
store: {url: %q}
sources:
  shop: {provider: %q, api_url: %q, api_key: k, webhook_secrets: [0123456789abcdef]}
`, redisURL, "sqlite://"+filepath.Join(dir, "tarn.db"), definitionFile, shopURL), 0o600))
	return settings
}
