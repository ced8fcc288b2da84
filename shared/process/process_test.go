package process_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestMain(m *testing.M) {
	// os/signal keeps one goroutine once it has been used.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("os/signal.loop"))
}

// output is a buffer that a running program may write to.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

const settings = `
http: {addr: "127.0.0.1:0"}
redis: {url: "redis://127.0.0.1:1"}
store: {url: "sqlite://DIR/tarn.db"}
sources:
  lemon: {provider: lemon, api_url: "http://127.0.0.1:1/v1", api_key: k, webhook_secrets: ["${file:DIR/secret}"]}
`

// files writes settings and a secret and returns the path of the settings.
func files(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("one-0123456789ab"), 0o600))
	file := filepath.Join(dir, "tarn.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600))
	return file
}

// start runs process.Main with a program that does run.
func start(run func(context.Context, *process.Process) error, out, problems *output, args ...string) int {
	return process.Main(process.Program{Name: "test", About: "Tests.\n", Run: run},
		process.System{Args: args, Stdout: out, Stderr: problems})
}

func TestFlags(t *testing.T) {
	good, bad := files(t, settings), files(t, "shards: x\n")
	cases := map[string]struct {
		args   []string
		status int
		out    string
		err    string
	}{
		"help":         {[]string{"--help"}, 0, "redis.lease_ttl (duration", ""},
		"help with -h": {[]string{"-h"}, 2, "", "--config FILE"},
		"version":      {[]string{"--version"}, 0, "tarn test dev\n", ""},
		"unknown flag": {[]string{"--nope"}, 2, "", "flag provided but not defined"},
		"an argument":  {[]string{"nope"}, 2, "", `"nope" is no flag`},
		"no settings":  {nil, 2, "", "store.url: is missing"},
		"no file":      {[]string{"--config", "/none"}, 2, "", "read configuration: open /none"},
		"bad settings": {[]string{"--config", bad}, 2, "", `tarn.yaml:1: shards: "x": want a whole number`},
		"runs":         {[]string{"--config", good}, 0, `"msg":"stopped"`, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var out, problems output
			got := start(func(context.Context, *process.Process) error { return nil }, &out, &problems, tc.args...)
			require.Equal(t, tc.status, got, problems.String())
			require.Contains(t, out.String(), tc.out)
			require.Contains(t, problems.String(), tc.err)
		})
	}
}

func TestFailureIsStatusOne(t *testing.T) {
	var out, problems output
	got := start(func(context.Context, *process.Process) error { return errors.New("no luck") }, &out, &problems, "--config", files(t, settings))
	require.Equal(t, 1, got)
	require.Contains(t, out.String(), "no luck")
}

func TestSignals(t *testing.T) {
	file := files(t, settings)
	var out, problems output
	running, reloaded := make(chan struct{}), make(chan string, 1)
	status := make(chan int, 1)
	go func() {
		status <- start(func(ctx context.Context, p *process.Process) error {
			p.OnReload(func(c *config.Config) error {
				reloaded <- string(c.Sources["lemon"].WebhookSecrets[0])
				return nil
			})
			close(running)
			<-ctx.Done()
			return ctx.Err()
		}, &out, &problems, "--config", file)
	}()
	<-running
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(file), "secret"), []byte("two-0123456789ab"), 0o600))
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Equal(t, "two-0123456789ab", <-reloaded)
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
	require.Equal(t, 0, <-status, "a stop that was asked for is no failure")
	require.NotContains(t, out.String(), `two-01`, "secrets are not logged")
}

func TestReload(t *testing.T) {
	running, err := config.Load(files(t, settings), nil)
	require.NoError(t, err)
	changed, err := config.Load(files(t, settings+"shards: 8\n"), nil)
	require.NoError(t, err)
	cases := map[string]struct {
		read  *config.Config
		err   error
		taker error
		taken bool
		log   string
	}{
		"taken":           {read: running, taken: true, log: "settings read again"},
		"needs a restart": {read: changed, taken: true, log: `"keys":["shards","store.url"]`},
		"unreadable":      {err: errors.New("line 3"), log: "the old ones stay in force"},
		"refused":         {read: running, taker: errors.New("bad key"), taken: true, log: "bad key"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var out output
			p := process.New("test", running, &out)
			taken := false
			p.OnReload(func(*config.Config) error { taken = true; return tc.taker })
			p.Reload(tc.read, tc.err)
			require.Equal(t, tc.taken, taken)
			require.Contains(t, out.String(), tc.log)
		})
	}
}

// A key that is changed while the process waits for something at its start is
// the one it goes on with.
func TestReloadBeforeARegistration(t *testing.T) {
	file := files(t, settings)
	running, err := config.Load(file, nil)
	require.NoError(t, err)
	read, err := config.Load(file, []string{"TARN_SOURCES__LEMON__API_KEY=new", "TARN_SOURCES__LEMON__TIMEOUT=1s"})
	require.NoError(t, err)
	var out output
	p := process.New("test", running, &out)
	p.OnReload(func(*config.Config) error { t.Error("nothing has been read again yet"); return nil })

	p = process.New("test", running, &out)
	p.Reload(read, nil)
	var got *config.Config
	p.OnReload(func(c *config.Config) error { got = c; return nil })
	require.NotNil(t, got)
	require.Equal(t, config.Secret("new"), got.Sources["lemon"].APIKey)
	require.Equal(t, running.Sources["lemon"].Timeout, got.Sources["lemon"].Timeout, "a timeout needs a restart")
	p.OnReload(func(*config.Config) error { return errors.New("bad key") })
	require.Contains(t, out.String(), "bad key")
}

// Only settings that may change without a restart are passed on.
func TestReloadTakesKeysAndNothingElse(t *testing.T) {
	asked := make(chan string, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":[]}`)
	}))
	t.Cleanup(server.Close)
	file := files(t, strings.ReplaceAll(settings, "http://127.0.0.1:1", server.URL))
	running, err := config.Load(file, nil)
	require.NoError(t, err)
	sources, err := process.Sources(running)
	require.NoError(t, err)
	clients, err := process.NewClients(sources)
	require.NoError(t, err)
	t.Cleanup(clients.Close)
	require.NoError(t, clients["lemon"].Probe(t.Context()))
	require.Equal(t, "Bearer k", <-asked)

	var out output
	p := process.New("test", running, &out)
	p.OnReload(clients.Reload)
	// A definition that is none would be refused, were it looked at.
	p.Reload(config.Load(file, []string{"TARN_SOURCES__LEMON__API_KEY=new", "TARN_SOURCES__LEMON__API_URL=http://127.0.0.1:1/v1",
		"TARN_SOURCES__LEMON__PROVIDER=none"}))
	require.Contains(t, out.String(), "settings read again")
	require.Contains(t, out.String(), `"keys":["sources.lemon.api_url","sources.lemon.provider"]`)
	require.NoError(t, clients["lemon"].Probe(t.Context()))
	require.Equal(t, "Bearer new", <-asked)
	_, told := clients["lemon"].Allowance()
	require.False(t, told)
}

// A reload exchanges the key, not the connections: a fleet that reloads at once
// would otherwise greet the provider with a storm of handshakes.
func TestReloadKeepsConnections(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"data":[]}`)
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	file := files(t, strings.ReplaceAll(settings, "http://127.0.0.1:1", server.URL))
	running, err := config.Load(file, nil)
	require.NoError(t, err)
	sources, err := process.Sources(running)
	require.NoError(t, err)
	clients, err := process.NewClients(sources)
	require.NoError(t, err)
	t.Cleanup(clients.Close)
	for _, key := range []string{"one", "two", "two"} {
		require.NoError(t, clients["lemon"].Probe(t.Context()))
		read, err := config.Load(file, []string{"TARN_SOURCES__LEMON__API_KEY=" + key})
		require.NoError(t, err)
		require.NoError(t, clients.Reload(read))
	}
	require.NoError(t, clients["lemon"].Probe(t.Context()))
	require.EqualValues(t, 1, connections.Load())
}

// tokens is a budget that grants one when asked twice.
type tokens struct {
	asked, granted int
	rates          []stream.Rate
}

func (b *tokens) Take(_ context.Context, source string, class event.Class, n int, r stream.Rate) (stream.Grant, error) {
	b.asked++
	b.rates = append(b.rates, r)
	if source != "lemon" || class != event.Live || n != 1 || b.asked%2 == 1 {
		return stream.Grant{Wait: time.Microsecond}, nil
	}
	b.granted++
	return stream.Grant{Tokens: 1}, nil
}

// A list of many pages is one fetch; each page is a request the provider counts.
func TestFurtherPagesCostTokens(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		page := len(r.URL.Query().Get("cursor"))
		next := `"` + strings.Repeat("c", page+1) + `"`
		if page == 3 {
			next = "null"
		}
		_, _ = fmt.Fprintf(w, `{"data":[{"isin":"DE%d"}],"pagination":{"next_cursor":%s}}`, page, next)
	}))
	t.Cleanup(server.Close)
	c, err := config.Load(files(t, strings.ReplaceAll(settings, "http://127.0.0.1:1", server.URL)), nil)
	require.NoError(t, err)
	sources, err := process.Sources(c)
	require.NoError(t, err)
	clients, err := process.NewClients(sources)
	require.NoError(t, err)
	t.Cleanup(clients.Close)
	positions := event.Ref{Key: event.Key{Source: "lemon", Kind: "positions", ID: "cusa_1"}}
	_, err = clients["lemon"].Fetch(t.Context(), positions, "test")
	require.NoError(t, err, "without a budget it asks as it likes")
	var b tokens
	clients.Budget(&b)
	_, err = clients["lemon"].Fetch(t.Context(), positions, "test")
	require.NoError(t, err)
	require.Equal(t, 3, b.granted, "four pages, of which the fetch itself has paid the first")
	require.Equal(t, stream.Rate{Limit: 50, Per: time.Second, Commands: 0.5}, b.rates[0])
}

// A process that waits for Redis is healthy and not ready, and goes on once
// Redis is there.
func TestWaitsForRedis(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	c, err := config.Load(files(t, strings.ReplaceAll(settings, "redis://127.0.0.1:1", server.URL())), nil)
	require.NoError(t, err)
	var out output
	p := process.New("test", c, &out)
	ctx, cancel := context.WithCancel(t.Context())
	probe, err := p.Listen(ctx, "http.addr", c.HTTP.Addr)
	require.NoError(t, err)
	served, opened := make(chan error, 1), make(chan error, 1)
	go func() { served <- probe.Serve(ctx) }()
	go func() {
		streams, err := p.Streams(ctx)
		if err == nil {
			probe.Ready(map[string]func(context.Context) error{"redis": streams.Ping})
			defer func() { <-ctx.Done(); p.Closing("redis", streams.Close) }()
		}
		opened <- err
	}()
	require.Eventually(t, func() bool { return strings.Contains(out.String(), "waiting for redis") }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, http.StatusOK, code(t, probe, "/healthz"))
	require.Equal(t, http.StatusServiceUnavailable, code(t, probe, "/readyz"))

	server.Restart()
	require.NoError(t, <-opened)
	require.Equal(t, http.StatusOK, code(t, probe, "/readyz"))
	require.Equal(t, http.StatusOK, code(t, probe, "/metrics"))
	cancel()
	require.NoError(t, <-served)
}

func TestCheck(t *testing.T) {
	c, err := config.Load(files(t, settings), nil)
	require.NoError(t, err)
	var out, problems output
	p := process.New("test", c, &out)
	ctx, cancel := context.WithCancel(t.Context())
	probe, err := p.Listen(ctx, "http.addr", c.HTTP.Addr)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- probe.Serve(ctx) }()
	require.Equal(t, 0, start(nil, &out, &problems, "--check", "http://"+probe.Addr()+"/healthz"))
	require.Equal(t, 1, start(nil, &out, &problems, "--check", "http://"+probe.Addr()+"/readyz"))
	require.Contains(t, problems.String(), `"start":"not ready"`)
	cancel()
	require.NoError(t, <-served)
	require.Equal(t, 1, start(nil, &out, &problems, "--check", "http://"+probe.Addr()+"/healthz"))
	http.DefaultClient.CloseIdleConnections()
}

func code(t *testing.T, probe *process.Probe, path string) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + probe.Addr() + path)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

// Waiting for ever would hide a setting that can never be right.
func TestWrongSettingsAreNotWaitedFor(t *testing.T) {
	server := redistest.Start(t)
	text := strings.ReplaceAll(settings, "redis://127.0.0.1:1", server.URL())
	first, err := config.Load(files(t, text), nil)
	require.NoError(t, err)
	var out output
	streams, err := process.New("test", first, &out).Streams(t.Context())
	require.NoError(t, err)
	require.NoError(t, streams.Close())
	second, err := config.Load(files(t, text+"shards: 8\n"), nil)
	require.NoError(t, err)
	_, err = process.New("test", second, &out).Streams(t.Context())
	require.ErrorContains(t, err, "set shards to 64")
}

func TestSources(t *testing.T) {
	file := files(t, settings)
	c, err := config.Load(file, nil)
	require.NoError(t, err)
	sources, err := process.Sources(c)
	require.NoError(t, err)
	require.Len(t, sources, 1)
	require.NotNil(t, sources[0].Definition)
	_, err = sources[0].Verifier(time.Minute)
	require.NoError(t, err)
	client, err := sources[0].Client()
	require.NoError(t, err)
	client.Close()

	for provider, want := range map[string]string{
		"lemmon":      `tarn.yaml:6: sources.lemon.provider: no built-in provider "lemmon": there are lemon`,
		"./none.yaml": "tarn.yaml:6: sources.lemon.provider: read provider definition: open " + filepath.Dir(file) + "/none.yaml: no such file",
	} {
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(strings.ReplaceAll(settings, "provider: lemon", "provider: "+provider), "DIR", filepath.Dir(file))), 0o600))
		c, err = config.Load(file, nil)
		require.NoError(t, err)
		_, err = process.Sources(c)
		require.ErrorContains(t, err, want)
	}
}

// A misspelt kind would silently leave the one it means with the defaults.
func TestKindsThatThereAreNot(t *testing.T) {
	for name, tc := range map[string]struct {
		kinds, env, want string
	}{
		"in the file":        {"{order: {verify_every: 1h}, ordr: {verify_every: 1h}}", "", "tarn.yaml:7: sources.lemon.reconcile.kinds.ordr: is no kind of provider lemon; there are account, "},
		"in the environment": {"{}", "TARN_SOURCES__LEMON__RECONCILE__KINDS__ORDR__VERIFY_EVERY=1h", "sources.lemon.reconcile.kinds.ordr: is no kind"},
		"two":                {"{one: {}, two: {}}", "", "kinds.two: is no kind"},
		"one that there is":  {"{order: {verify_every: 1h}}", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.ReplaceAll(settings, "]}", "],\n    reconcile: {kinds: "+tc.kinds+"}}")
			c, err := config.Load(files(t, text), []string{tc.env})
			require.NoError(t, err)
			_, err = process.Sources(c)
			if tc.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.want)
		})
	}
}

// Two bounds that contradict each other are found at the start: a list of events
// that forgets them sooner than it is read.
func TestAHorizonBelowThePauseOfTheSearch(t *testing.T) {
	definition, err := os.ReadFile("../provider/definitions/stripe.yaml")
	require.NoError(t, err)
	file := files(t, strings.ReplaceAll(settings, "provider: lemon", "provider: DIR/shop.yaml, settings: {livemode: \"true\"}"))
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(file), "shop.yaml"),
		[]byte(strings.ReplaceAll(string(definition), "720h", "12h")), 0o600))
	for every, want := range map[string]string{
		"11h": "",
		"12h": "sources.lemon.reconcile.gaps.every: is 12h0m0s, and provider stripe keeps events for 12h0m0s only (api.events.horizon of its definition)",
	} {
		c, err := config.Load(file, []string{"TARN_SOURCES__LEMON__RECONCILE__GAPS__EVERY=" + every})
		require.NoError(t, err)
		if _, err = process.Sources(c); want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
	}
}

// The definition knows its provider; the settings overrule it.
func TestToleranceIsTheDefinitionsUnlessSet(t *testing.T) {
	definition, err := os.ReadFile("../provider/testdata/standard.yaml")
	require.NoError(t, err)
	file := files(t, strings.ReplaceAll(strings.ReplaceAll(settings, "provider: lemon", "provider: ./shop.yaml"), `"${file:DIR/secret}"`, "whsec_c2VjcmV0LTAxMjM0NTY3ODk="))
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(file), "shop.yaml"),
		[]byte(strings.ReplaceAll(string(definition), "envelope:", "  tolerance: 1h\n\nenvelope:")), 0o600))

	stamp := fmt.Sprint(time.Now().Add(-30 * time.Minute).Unix())
	mac := hmac.New(sha256.New, []byte("secret-0123456789"))
	_, _ = io.WriteString(mac, "msg_1."+stamp+".{}")
	header := http.Header{}
	header.Set("Webhook-Id", "msg_1")
	header.Set("Webhook-Timestamp", stamp)
	header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	verify := func(environ ...string) error {
		c, err := config.Load(file, environ)
		require.NoError(t, err)
		sources, err := process.Sources(c)
		require.NoError(t, err)
		verifier, err := sources[0].Verifier(c.Webhook.Tolerance)
		require.NoError(t, err)
		return verifier.Verify(header, []byte("{}"))
	}
	require.NoError(t, verify())
	require.ErrorContains(t, verify("TARN_WEBHOOK__TOLERANCE=10m"), "too_old")
}

// A store that hangs must not make the process late.
func TestClosingIsBounded(t *testing.T) {
	c, err := config.Load(files(t, settings), nil)
	require.NoError(t, err)
	var out output
	p := process.New("test", c, &out)
	hang := make(chan struct{})
	p.Closing("store", func() error { <-hang; return nil })
	close(hang)
	require.Contains(t, out.String(), "gave up closing store")
	p.Closing("redis", func() error { return errors.New("broken pipe") })
	require.Contains(t, out.String(), "broken pipe")
}

func TestNewID(t *testing.T) { require.NotEqual(t, process.NewID(), process.NewID()) }

func TestCommands(t *testing.T) {
	var kinds string
	commands := []process.Command{{
		Name: "verify", Short: "compare", About: "Compares.\nExit 3: different.\n",
		Flags: func(set *flag.FlagSet) { set.StringVar(&kinds, "kind", "", "`NAME` of a kind") },
		Run: func(_ context.Context, p *process.Process) error {
			p.Logger.Info("comparing")
			_, err := io.WriteString(p.Stdout, "3 different\n")
			return errors.Join(err, fmt.Errorf("said: %w", process.Status(3)))
		},
	}}
	run := func(args ...string) (status int, out, problems string) {
		var o, p output
		status = process.Main(process.Program{
			Name: "reconciler", About: "Finds.\n", Commands: commands,
			Run: func(context.Context, *process.Process) error { return nil },
		}, process.System{Args: args, Stdout: &o, Stderr: &p})
		return status, o.String(), p.String()
	}
	file := files(t, settings)
	status, out, problems := run("verify", "--config", file, "--kind", "order")
	require.Equal(t, 3, status)
	require.Equal(t, "3 different\n", out, "the answer is alone")
	require.Contains(t, problems, "comparing")
	require.Equal(t, "order", kinds)

	status, out, _ = run("verify", "--help")
	require.Zero(t, status)
	require.Equal(t, "Usage: reconciler verify [flags]\n\nCompares.\nExit 3: different.\n\n"+
		"  --config FILE  settings as YAML; the environment goes over them\n  --kind NAME    NAME of a kind\n"+
		"  --help         this text\n  --version      the version\n", out)
	_, out, _ = run("--help")
	require.Contains(t, out, "reconciler verify [flags]      compare\n")
	require.Contains(t, out, "redis.lease_ttl")

	status, _, problems = run("--config", file, "moon")
	require.Equal(t, 2, status)
	require.Contains(t, problems, `"moon" is no flag`)
	status, _, _ = run("verify", "--check", "http://x")
	require.Equal(t, 2, status, "a command serves no health")
}

// What a command that was stopped before it was done was asked is not known.
func TestCommandsThatAreCutOff(t *testing.T) {
	cases := map[string]struct {
		answer func(context.Context) error
		status int
	}{
		"before it was done": {func(ctx context.Context) error { return fmt.Errorf("compare: %w", ctx.Err()) }, 4},
		"with another error": {func(context.Context) error { return errors.New("closed connection") }, 4},
		"after its answer":   {func(context.Context) error { return process.Status(3) }, 3},
		"when it was done":   {func(context.Context) error { return nil }, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			running := make(chan struct{})
			commands := []process.Command{{Name: "verify", Short: "compare", About: "Compares.\n", Run: func(ctx context.Context, _ *process.Process) error {
				close(running)
				<-ctx.Done()
				return tc.answer(ctx)
			}}}
			var out, problems output
			status := make(chan int, 1)
			go func() {
				status <- process.Main(process.Program{Name: "reconciler", About: "Finds.\n", Commands: commands},
					process.System{Args: []string{"verify", "--config", files(t, settings)}, Stdout: &out, Stderr: &problems})
			}()
			<-running
			require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
			require.Equal(t, tc.status, <-status)
			require.Equal(t, tc.status == 4, strings.Contains(problems.String(), "was cut off before it was done"), problems.String())
		})
	}
}
