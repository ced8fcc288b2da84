package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/deployments/fleet"
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
	o.addr, err = fleet.FreeAddr()
	require.NoError(t, err)
	o.simulator, err = fleet.FreeAddr()
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
		require.Less(t, time.Since(began), 30*time.Second) // each process gives itself 10 s
		require.Contains(t, out.String(), "stopped")
	}
}

type list struct {
	Items []struct {
		ID, Entity string
	}
}

func TestSmokeSaysWhichStackItUsed(t *testing.T) {
	o := trial(t)
	var report screen
	require.NoError(t, command(t.Context(), []string{"smoke", "--dir", o.dir}, &report))
	require.Contains(t, report.String(), "no stack is running in "+o.dir+": smoke used one of its own\n")
}

// smokeElsewhere knows the stack by its address and its secrets alone.
func smokeElsewhere(t *testing.T, addr string) {
	t.Helper()
	secrets := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(secrets, "ops_token"), []byte("any\n"), 0o600))
	smoked := func(secret string) (string, error) {
		require.NoError(t, os.WriteFile(filepath.Join(secrets, "lemon_webhook_secret"), []byte(secret+"\n"), 0o600))
		var report screen
		err := command(t.Context(), []string{"smoke", "--at", addr, "--secrets", secrets}, &report)
		return report.String(), err
	}
	said, err := smoked(webhookSecret)
	require.NoError(t, err)
	require.Regexp(t, `^accepted after`, said)
	_, err = smoked("another-webhook-secret")
	require.ErrorContains(t, err, "401")
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
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "/events\n") }, 3*time.Minute, 50*time.Millisecond, out)
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
	if provider == simulator.Lemon {
		smokeElsewhere(t, o.addr)
	}
	stop()

	o.rate = 0 // what is there now was there before
	_, stop = start(t, o)
	var orders list
	require.Eventually(t, func() bool {
		code, err := get(t.Context(), mirrored("http://"+o.addr, provider), &orders)
		return err == nil && code == http.StatusOK && len(orders.Items) > 0
	}, time.Minute, 20*time.Millisecond)
	var events list
	_, err := get(t.Context(), "http://"+o.addr+"/v1/events", &events)
	require.NoError(t, err)
	require.NotEmpty(t, events.Items)
	stop()
}

// The four things that go wrong on purpose are found and shown, and what a newcomer is
// told to do about them repairs what stays wrong.
func TestWhatGoesWrongOnPurpose(t *testing.T) {
	for _, provider := range []string{simulator.Lemon, simulator.Stripe} {
		t.Run(provider, func(t *testing.T) {
			for _, key := range []string{"GAPS", "SWEEP"} { // the standalone's own pace is that of a person
				t.Setenv("TARN_SOURCES__"+strings.ToUpper(provider)+"__RECONCILE__"+key+"__EVERY", "5s")
			}
			o := trial(t)
			o.provider, o.troubles = provider, true
			out, stop := start(t, o)
			defer stop()
			require.Eventually(t, func() bool { return strings.Contains(out.String(), "/parked/retry") }, 12*time.Minute, 50*time.Millisecond, out)
			t.Log(out)
			for _, found := range []string{"dead letter", "parked", "lost webhook", "silent edit"} {
				require.Regexp(t, `(?m)^ +\d+\.\d s  `+found+` +(order|product)/\w+  \S`, out.String())
			}
			require.Contains(t, out.String(), "console    http://"+o.addr+"/console\n")

			_, told, found := strings.Cut(out.String(), "repair the provider")
			require.True(t, found)
			var commands []string
			for line := range strings.Lines(told) {
				if line = strings.TrimSpace(line); strings.HasPrefix(line, "curl ") {
					commands = append(commands, line)
				}
			}
			require.Len(t, commands, 3)
			for _, c := range commands {
				said, err := exec.CommandContext(t.Context(), "sh", "-c", c).CombinedOutput()
				require.NoError(t, err, "%s: %s", c, said)
			}
			base := "http://" + o.addr
			for _, of := range []string{"/v1/parked", "/v1/dead-letters?status=open", "/v1/events?status=dead", "/v1/events?status=retrying"} {
				var left list
				require.Eventually(t, func() bool {
					code, err := get(t.Context(), base+of, &left)
					return err == nil && code == http.StatusOK && len(left.Items) == 0
				}, 2*time.Minute, 50*time.Millisecond, of)
			}
			// A sweep that came between the repair and the redrive has done the work itself. What
			// the world does next may name the refused entity again: each event has a letter.
			var redriven, superseded list
			_, err := get(t.Context(), base+"/v1/dead-letters?status=redriven", &redriven)
			require.NoError(t, err)
			_, err = get(t.Context(), base+"/v1/dead-letters?status=superseded", &superseded)
			require.NoError(t, err)
			letters := slices.Concat(redriven.Items, superseded.Items)
			require.NotEmpty(t, letters)
			for _, letter := range letters {
				require.Equal(t, letters[0].Entity, letter.Entity)
			}
		})
	}
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
	}, time.Minute, 20*time.Millisecond)
}

// A run that was killed leaves its redis-server behind; the next one ends it,
// since two must not write one file.
func TestALeftoverServerIsEnded(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	addr, err := fleet.FreeAddr()
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
