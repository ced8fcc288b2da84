package app_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/api/app"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(redistest.Reuse())) }

// freeAddr returns a loopback address on which no process listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := redistest.FreeAddr()
	require.NoError(t, err)
	return addr
}

func settings(t *testing.T, addr, redis, store string, environ ...string) *config.Config {
	t.Helper()
	c, err := config.Parse("tarn.yaml", []byte(fmt.Sprintf(`
http: {addr: %q}
redis: {url: %q}
store: {url: %q}
sources:
  lemon: {provider: lemon, api_url: "http://127.0.0.1:1/v1", api_key: k, webhook_secrets: [old-0123456789ab]}
`, addr, redis, store)), environ)
	require.NoError(t, err)
	return c
}

// running starts the api and returns how to stop it.
func running(t *testing.T, p *process.Process) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx, p) }()
	return func() error { cancel(); return <-done }
}

var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}

func status(t *testing.T, url string) int {
	t.Helper()
	res, err := client.Get(url)
	if err != nil {
		return 0
	}
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

func post(t *testing.T, url, body string) int {
	t.Helper()
	res, err := client.Post(url, "application/json", strings.NewReader(body))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

// send posts an event signed with the secret and returns the status.
func send(t *testing.T, addr, secret, id string) int {
	t.Helper()
	body := fmt.Sprintf(`{"id":%q,"type":"account.created","created_at":"2026-01-01T00:00:00Z","context":{"account":"cusa_1"}}`, id)
	stamp := fmt.Sprint(time.Now().Unix())
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write([]byte(stamp + "." + body))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/webhooks/lemon", strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("LMG-Signature", "t="+stamp+",v1="+hex.EncodeToString(mac.Sum(nil)))
	res, err := client.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

// Webhooks are taken with Redis alone: a database that is away when the api
// starts fails readers and no sender.
func TestStartsWithoutTheStore(t *testing.T) {
	addr := freeAddr(t)
	unused := "mongodb://127.0.0.1:1/tarn?serverSelectionTimeoutMS=200&connectTimeoutMS=200"
	p := process.New("api", settings(t, addr, redistest.Start(t).URL(), unused), io.Discard)
	stop := running(t, p)
	require.Eventually(t, func() bool { return status(t, "http://"+addr+"/readyz") == http.StatusOK }, time.Minute, 20*time.Millisecond)
	require.Equal(t, http.StatusOK, send(t, addr, "old-0123456789ab", "evt_1"))
	for _, path := range []string{"events", "events/evt_1", "entities/lemon/account", "entities/lemon/account/cusa_1",
		"dead-letters", "dead-letters/dl_1", "jobs", "jobs/job_1", "sweeps", "sweeps/sweep_1", "discrepancies"} {
		require.Equal(t, http.StatusServiceUnavailable, status(t, "http://"+addr+"/v1/"+path), path)
	}
	for _, act := range []struct {
		path, body string
		status     int
	}{
		{"dead-letters/redrive", `{"all":true}`, http.StatusServiceUnavailable},
		{"dead-letters/dl_1/discard", `{"reason":"r"}`, http.StatusServiceUnavailable},
		{"sweeps", `{"source":"lemon"}`, http.StatusServiceUnavailable},
		{"sources/lemon/pause", `{"reason":"the database is away"}`, http.StatusOK},
		{"sources/lemon/resume", ``, http.StatusOK},
		{"entities/lemon/account/cusa_1/sync", ``, http.StatusAccepted},
	} {
		require.Equal(t, act.status, post(t, "http://"+addr+"/v1/"+act.path, act.body), act.path)
	}
	require.Equal(t, http.StatusOK, status(t, "http://"+addr+"/v1/fleet"))
	require.NoError(t, stop())
}

// While it waits for Redis, the api shows that it waits, and asks senders to try again: a
// 404 would mean that there is no such source.
func TestWaitsForRedis(t *testing.T) {
	addr, redis := freeAddr(t), redistest.Start(t)
	redis.Kill()
	p := process.New("api", settings(t, addr, redis.URL(), "sqlite://"+t.TempDir()+"/tarn.db"), io.Discard)
	stop := running(t, p)
	require.Eventually(t, func() bool { return status(t, "http://"+addr+"/readyz") == http.StatusServiceUnavailable }, time.Minute, 20*time.Millisecond)
	require.Equal(t, http.StatusOK, status(t, "http://"+addr+"/healthz"))
	for _, path := range []string{"/webhooks/lemon", "/v1/dead-letters/redrive"} {
		res, err := client.Post("http://"+addr+path, "application/json", strings.NewReader(`{"id":"evt_1"}`))
		require.NoError(t, err)
		require.Equal(t, http.StatusServiceUnavailable, res.StatusCode, path)
		require.Equal(t, "5", res.Header.Get("Retry-After"))
		require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
		var problem struct{ Status int }
		require.NoError(t, json.NewDecoder(res.Body).Decode(&problem))
		require.Equal(t, http.StatusServiceUnavailable, problem.Status)
		require.NoError(t, res.Body.Close())
	}
	redis.Restart()
	require.Eventually(t, func() bool { return status(t, "http://"+addr+"/readyz") == http.StatusOK }, time.Minute, 20*time.Millisecond)
	require.Eventually(t, func() bool { return status(t, "http://"+addr+"/v1/events") == http.StatusOK }, time.Minute, 20*time.Millisecond)
	require.NoError(t, stop())
}

// A secret is rotated without a restart and without a webhook refused.
func TestReloadsSecrets(t *testing.T) {
	addr := freeAddr(t)
	redis, store := redistest.Start(t).URL(), "sqlite://"+t.TempDir()+"/tarn.db"
	p := process.New("api", settings(t, addr, redis, store), io.Discard)
	stop := running(t, p)
	require.Eventually(t, func() bool { return status(t, "http://"+addr+"/readyz") == http.StatusOK }, time.Minute, 20*time.Millisecond)
	require.Equal(t, http.StatusUnauthorized, send(t, addr, "new-0123456789ab", "evt_1"))

	p.Reload(settings(t, addr, redis, store, "TARN_SOURCES__LEMON__WEBHOOK_SECRETS=new-0123456789ab, old-0123456789ab"), nil)
	require.Equal(t, http.StatusOK, send(t, addr, "new-0123456789ab", "evt_1"))
	require.Equal(t, http.StatusOK, send(t, addr, "old-0123456789ab", "evt_2"))
	p.Reload(settings(t, addr, redis, store, "TARN_SOURCES__LEMON__WEBHOOK_SECRETS=new-0123456789ab"), nil)
	require.Equal(t, http.StatusUnauthorized, send(t, addr, "old-0123456789ab", "evt_3"))
	require.NoError(t, stop())
}

// An api whose database is of another fleet ends with an error: it would accept webhooks
// and never have anything to show.
func TestRefusesTheDatabaseOfAnotherFleet(t *testing.T) {
	redis, dir := redistest.Start(t).URL(), t.TempDir()
	founded(t, redis, dir+"/tarn.db")
	p := process.New("api", settings(t, freeAddr(t), redis, "sqlite://"+dir+"/other.db"), io.Discard)
	err := app.Run(t.Context(), p)
	require.ErrorIs(t, err, identity.ErrMismatch)
	require.ErrorContains(t, err, "store.url names another database")
}

// Another fleet would work on events that are accepted into its Redis.
func TestTakesNothingWhileRedisIsOfAnotherFleet(t *testing.T) {
	addr, srv, dir := freeAddr(t), redistest.Start(t), t.TempDir()
	id := founded(t, srv.URL(), dir+"/tarn.db")
	p := process.New("api", settings(t, addr, srv.URL(), "sqlite://"+dir+"/tarn.db"), io.Discard)
	stop := running(t, p)
	ready := func(want int) {
		require.Eventually(t, func() bool { return status(t, "http://"+addr+"/readyz") == want }, time.Minute, 20*time.Millisecond)
	}
	ready(http.StatusOK)
	require.Eventually(t, func() bool { return status(t, "http://"+addr+"/v1/events") == http.StatusOK }, time.Minute, 20*time.Millisecond)
	require.NoError(t, srv.Client().HSet(t.Context(), "{tarn}:identity", "fleet", "another").Err())
	ready(http.StatusServiceUnavailable)
	require.Equal(t, http.StatusServiceUnavailable, send(t, addr, "old-0123456789ab", "evt_1"), "it comes again")
	require.Equal(t, http.StatusServiceUnavailable, status(t, "http://"+addr+"/v1/events"))
	require.Equal(t, http.StatusServiceUnavailable, post(t, "http://"+addr+"/v1/sources/lemon/pause", `{"reason":"r"}`))
	require.Equal(t, http.StatusServiceUnavailable, post(t, "http://"+addr+"/v1/sources/lemon/resume", `{"accept_deletions":true}`))
	res, err := client.Post("http://"+addr+"/v1/entities/lemon/account/cusa_1/sync", "", nil)
	require.NoError(t, err)
	why, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Contains(t, string(why), "not of one fleet", "redis does answer")
	require.NoError(t, srv.Client().HSet(t.Context(), "{tarn}:identity", "fleet", id).Err())
	ready(http.StatusOK)
	require.Equal(t, http.StatusOK, send(t, addr, "old-0123456789ab", "evt_1"))
	require.NoError(t, stop())
}

// founded makes a fleet of a Redis and a database, as its first worker does.
func founded(t *testing.T, redis, db string) (id string) {
	t.Helper()
	q, err := stream.Open(t.Context(), stream.Options{URLs: []string{redis}})
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	s, err := sqlite.Open(t.Context(), db, sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, identity.New(identity.Options{Queue: q, Store: s}).Start(t.Context()))
	got, err := q.Identity(t.Context())
	require.NoError(t, err)
	return got.Fleet
}

func TestRefusesToBeOpen(t *testing.T) {
	p := process.New("api", settings(t, "0.0.0.0:0", "redis://127.0.0.1:1", "sqlite:///none/tarn.db"), io.Discard)
	require.ErrorContains(t, app.Run(t.Context(), p), "operator_tokens")
}

// Without tokens and without a host the api serves this machine only, and logs that,
// from the start.
func TestWithoutTokensListensOnLoopback(t *testing.T) {
	_, port, err := net.SplitHostPort(freeAddr(t))
	require.NoError(t, err)
	redis := redistest.Start(t)
	redis.Kill()
	var log safeBuffer
	p := process.New("api", settings(t, ":"+port, redis.URL(), "sqlite://"+t.TempDir()+"/tarn.db"), &log)
	stop := running(t, p)
	other := func() bool { // every 127.0.0.0/8 is this machine, but only one of them is listened to
		conn, err := net.DialTimeout("tcp", "127.0.0.2:"+port, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	ready := func(want int) func() bool {
		return func() bool { return status(t, "http://127.0.0.1:"+port+"/readyz") == want }
	}
	require.Eventually(t, ready(http.StatusServiceUnavailable), time.Minute, 20*time.Millisecond)
	require.False(t, other(), "while it waits for Redis")
	redis.Restart()
	require.Eventually(t, ready(http.StatusOK), time.Minute, 20*time.Millisecond)
	require.False(t, other())
	require.Contains(t, log.String(), "only this machine can reach the api")
	require.NoError(t, stop())
}

// safeBuffer is a buffer that a running api may write to.
type safeBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// Profiles are served beside the routes of the api, to operators alone, and only if the
// settings ask for them.
func TestProfiles(t *testing.T) {
	server := redistest.Start(t)
	const tokens = "TARN_OPERATOR_TOKENS=[{name: ops, token: operator-0123456789, role: operator}, {name: grafana, token: viewer-0123456789}]"
	for _, c := range []struct {
		name    string
		environ []string
		token   string
		status  int
	}{
		{"off", []string{tokens}, "operator-0123456789", 404},
		{"no token", []string{tokens, "TARN_TELEMETRY__PROFILES=operators"}, "", 401},
		{"a viewer's token", []string{tokens, "TARN_TELEMETRY__PROFILES=operators"}, "viewer-0123456789", 403},
		{"an operator's token", []string{tokens, "TARN_TELEMETRY__PROFILES=operators"}, "operator-0123456789", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := freeAddr(t)
			stop := running(t, process.New("api", settings(t, addr, server.URL(), "sqlite://"+t.TempDir()+"/tarn.db", c.environ...), io.Discard))
			require.Eventually(t, func() bool { return status(t, "http://"+addr+"/readyz") == http.StatusOK }, time.Minute, 10*time.Millisecond)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+process.ProfilesPath+"heap?debug=1", nil)
			require.NoError(t, err)
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			res, err := client.Do(req)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, c.status, res.StatusCode)
			require.NoError(t, stop())
		})
	}
}
