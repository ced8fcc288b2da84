package app

import (
	"context"
	"encoding/json"
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/deployments/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFlags(t *testing.T) {
	t.Setenv("SIMULATOR_WEBHOOK_SECRET", "from the environment")
	o, addr, err := options([]string{
		"--addr", "127.0.0.1:0", "--data", "d", "--seed", "7", "--rate", "2.5", "--retries", "1s, 250ms",
		"--webhook-url", "http://127.0.0.1/x", "--chaos", `{"duplicate":0.5,"max_delay":"2s"}`,
	}, "dev")
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:0", addr)
	require.Equal(t, simulator.Options{
		Provider: simulator.Lemon, Data: "d", Seed: 7, Rate: 2.5, WebhookURL: "http://127.0.0.1/x", WebhookSecret: "from the environment",
		Retries: []time.Duration{time.Second, 250 * time.Millisecond}, Parallel: 64,
		KeepVersions: 20, KeepEvents: 50000, MaxEntities: 30000,
		Chaos: simulator.Chaos{Duplicate: 0.5, MaxDelay: simulator.Duration(2 * time.Second)},
	}, o)
}

func TestSecretsInFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("from a file\n"), 0o600))
	t.Setenv("SIMULATOR_WEBHOOK_SECRET", "@"+file)
	o, _, err := options([]string{"--api-key", "@" + file}, "dev")
	require.NoError(t, err)
	require.Equal(t, []string{"from a file", "", "from a file"}, []string{o.APIKey, o.WriteKey, o.WebhookSecret})
	_, _, err = options([]string{"--write-key", "@" + file + "s"}, "dev")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestBadFlags(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"unknown":   {[]string{"--colour"}, "not defined"},
		"argument":  {[]string{"now"}, `unknown argument "now"`},
		"chaos":     {[]string{"--chaos", `{"duplicate":7}`}, "not a chance"},
		"retries":   {[]string{"--retries", "soon"}, "invalid duration"},
		"help":      {[]string{"--help"}, flag.ErrHelp.Error()},
		"no secret": {[]string{"--webhook-url", "http://127.0.0.1/x"}, "webhook secret: missing"},
		"address":   {[]string{"--addr", "nowhere"}, "listen"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, run(t.Context(), tc.args, "dev"), tc.want)
		})
	}
	require.NoError(t, run(t.Context(), []string{"--version"}, "dev"))
}

func TestItRunsUntilStopped(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := free.Addr().String()
	require.NoError(t, free.Close())

	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, []string{"--addr", addr, "--data", t.TempDir(), "--rate", "200"}, "dev") }()
	require.Eventually(t, func() bool {
		resp, err := http.Get("http://" + addr + "/_sim/counters")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		var c simulator.Counters
		return json.NewDecoder(resp.Body).Decode(&c) == nil && c.Events > 20
	}, time.Minute, 20*time.Millisecond)
	http.DefaultClient.CloseIdleConnections()
	stop()
	require.NoError(t, <-done)
}
