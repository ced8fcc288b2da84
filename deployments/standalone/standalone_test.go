package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/deployments/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// screen is the output of a running standalone.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func trial(t *testing.T) options {
	t.Helper()
	o := options{provider: simulator.Lemon, dir: t.TempDir(), rate: 20}
	var err error
	o.addr, err = freeAddr(t.Context())
	require.NoError(t, err)
	o.simulator, err = freeAddr(t.Context())
	require.NoError(t, err)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return o
}

// start runs a standalone; stop ends it as Ctrl-C does.
func start(t *testing.T, o options) (out *screen, stop func()) {
	t.Helper()
	out = &screen{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, o, out) }()
	return out, func() {
		began := time.Now()
		cancel()
		require.NoError(t, <-done)
		require.Less(t, time.Since(began), 10*time.Second)
		require.Contains(t, out.String(), "stopped")
	}
}

type list struct {
	Items []struct {
		ID string `json:"id"`
	} `json:"items"`
}

func TestSmokeSaysWhichStackItUsed(t *testing.T) {
	o := trial(t)
	var report screen
	require.NoError(t, command(t.Context(), []string{"smoke", "--dir", o.dir}, &report))
	require.Contains(t, report.String(), "no stack is running in "+o.dir+": smoke used one of its own\n")
}

// The first look: the world fills the mirror, the examples work as printed, a
// second start goes on with what was there.
func TestFirstLookAndSecondStart(t *testing.T) {
	for _, provider := range []string{simulator.Lemon, simulator.Stripe} {
		t.Run(provider, func(t *testing.T) { lookTwice(t, provider) })
	}
}

func lookTwice(t *testing.T, provider string) {
	o := trial(t)
	o.provider = provider
	out, stop := start(t, o)
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "/events\n") }, time.Minute, 50*time.Millisecond, out)
	for line := range strings.Lines(out.String()) {
		if url, ok := strings.CutPrefix(strings.TrimSpace(line), "curl -s "); ok {
			code, err := get(t.Context(), strings.Trim(url, "'"), new(any))
			require.NoError(t, err, url)
			require.Equal(t, http.StatusOK, code, url)
		}
	}
	require.ErrorContains(t, run(t.Context(), o, out), "another standalone runs on")

	var report screen
	require.NoError(t, command(t.Context(), []string{"smoke", "--provider", provider, "--dir", o.dir}, &report))
	require.Regexp(t, `^smoke used the stack that runs in \S+\naccepted after \d+\.\d ms, document readable after \d+\.\d ms \(evt_smoke_\w+\)\n$`, report.String())
	stop()

	o.rate = 0 // what is there now was there before
	_, stop = start(t, o)
	var orders list
	require.Eventually(t, func() bool {
		code, err := get(t.Context(), mirrored("http://"+o.addr, provider), &orders)
		return err == nil && code == http.StatusOK && len(orders.Items) > 0
	}, 30*time.Second, 20*time.Millisecond)
	var events list
	_, err := get(t.Context(), "http://"+o.addr+"/v1/events", &events)
	require.NoError(t, err)
	require.NotEmpty(t, events.Items)
	stop()
}

// A redis-server that dies comes back, on the same address with what it had.
func TestRedisIsStartedAgain(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	r, stop, err := startRedis(t.Context(), t.TempDir(), log)
	require.NoError(t, err)
	defer stop()
	_, err = ask(t.Context(), r.addr, "SET kept 1")
	require.NoError(t, err)
	_, _ = ask(t.Context(), r.addr, "SHUTDOWN NOSAVE")
	require.Eventually(t, func() bool {
		answer, err := ask(t.Context(), r.addr, "GET kept")
		return err == nil && strings.HasSuffix(answer, "1")
	}, 20*time.Second, 20*time.Millisecond)
}

// A run that was killed leaves its redis-server behind; the next one ends it,
// since two must not write one file.
func TestALeftoverServerIsEnded(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	addr, err := freeAddr(t.Context())
	require.NoError(t, err)
	path, err := exec.LookPath("redis-server")
	require.NoError(t, err)
	leftover := &redis{path: path, dir: dir, addr: addr, log: log}
	process := leftover.command(t.Context())
	require.NoError(t, process.Start())
	require.NoError(t, leftover.await(t.Context()))
	require.NoError(t, os.WriteFile(addrFile(dir), []byte(addr), 0o600))

	second, stop, err := startRedis(t.Context(), dir, log)
	require.NoError(t, err)
	require.NoError(t, process.Wait(), "it was asked to shut down")
	require.NotEqual(t, leftover.addr, second.addr)
	_, err = ask(t.Context(), leftover.addr, "PING")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	stop()
}

func TestCommand(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		out  string
		err  string
	}{
		"help":         {[]string{"--help"}, "standalone smoke", ""},
		"version":      {[]string{"--version"}, "tarn standalone dev", ""},
		"unknown flag": {[]string{"--nope"}, "", "flag provided but not defined"},
		"an argument":  {[]string{"nope"}, "", `"nope" is no flag`},
		"provider":     {[]string{"--provider", "paypal"}, "", `--provider is lemon or stripe, not "paypal"`},
	} {
		t.Run(name, func(t *testing.T) {
			var out screen
			err := command(t.Context(), tc.args, &out)
			require.Contains(t, out.String(), tc.out)
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
		})
	}
}

func TestAddressInUse(t *testing.T) {
	o := trial(t)
	o.simulator = o.addr // both want it
	err := run(t.Context(), o, &screen{})
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}

func TestRedisMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := run(t.Context(), trial(t), &screen{})
	require.ErrorContains(t, err, "redis-server is not installed")
}

func TestRecallOfNothing(t *testing.T) {
	_, err := recall(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}
