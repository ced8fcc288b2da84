package app_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/worker/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(redistest.Reuse())) }

// account answers every question with the account asked for.
func account(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"id":%q,"status":"active"}`, filepath.Base(r.URL.Path))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// worker is one of a fleet with the given Redis and database file.
type worker struct {
	addr string
	stop func() error
	done chan error
}

func run(t *testing.T, redis, db, api string, change ...func(*process.Process)) *worker {
	t.Helper()
	addr, err := redistest.FreeAddr()
	require.NoError(t, err)
	c, err := config.Parse("tarn.yaml", []byte(fmt.Sprintf(`
http: {addr: %q}
redis: {url: %q, lease_ttl: 5s}
shards: 1
store: {url: %q}
sources:
  lemon: {provider: lemon, api_url: %q, api_key: k, webhook_secrets: [0123456789abcdef]}
`, addr, redis, "sqlite://"+db, api)), nil)
	require.NoError(t, err)
	p := process.New("worker", c, io.Discard)
	for _, f := range change {
		f(p)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := &worker{addr: addr, done: make(chan error, 1)}
	go func() { w.done <- app.Run(ctx, p) }()
	w.stop = func() error { cancel(); return <-w.done }
	return w
}

func adopting(p *process.Process) { p.Adopt = true }

func (w *worker) ready(t *testing.T) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + w.addr + "/readyz")
	if err != nil {
		return 0
	}
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

func (w *worker) becomes(t *testing.T, code int) {
	t.Helper()
	require.Eventually(t, func() bool { return w.ready(t) == code }, time.Minute, 20*time.Millisecond)
}

func queue(t *testing.T, redis string) *stream.Streams {
	t.Helper()
	s, err := stream.Open(t.Context(), stream.Options{URLs: []string{redis}, Shards: 1})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func send(t *testing.T, q *stream.Streams, id string) {
	t.Helper()
	_, err := q.Append(t.Context(), stream.Draft{Signal: event.Own(&event.Event{
		Source: "lemon", ID: id, Type: "account.created", CreatedAt: time.Now(), ReceivedAt: time.Now(),
		Entities: []event.Ref{{Key: event.Key{Source: "lemon", Kind: "account", ID: "cusa_" + id}}}, Payload: []byte(`{}`),
	}, "")})
	require.NoError(t, err)
}

func waiting(t *testing.T, q *stream.Streams) int {
	t.Helper()
	entries, err := q.Peek(t.Context(), 0, "lemon", event.TierLive, 10)
	require.NoError(t, err)
	return len(entries)
}

func logged(t *testing.T, db, id string) bool {
	t.Helper()
	s, err := sqlite.Open(t.Context(), db, sqlite.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	known, err := s.KnownEvents(t.Context(), "lemon", []string{id})
	require.NoError(t, err)
	return known[id]
}

// Two fleets on one Redis would share out each other's events.
func TestAWorkerOfAnotherFleetIsRefused(t *testing.T) {
	redis, api := redistest.Start(t).URL(), account(t)
	prod := run(t, redis, filepath.Join(t.TempDir(), "prod.db"), api)
	prod.becomes(t, http.StatusOK)
	other := redistest.Start(t).URL()
	stagingDB := filepath.Join(t.TempDir(), "staging.db")
	staging := run(t, other, stagingDB, api)
	staging.becomes(t, http.StatusOK)
	require.NoError(t, staging.stop())

	err := <-run(t, redis, stagingDB, api).done
	require.ErrorIs(t, err, identity.ErrMismatch)
	require.ErrorContains(t, err, "correct redis.url, redis.prefix or store.url")
	err = <-run(t, redis, filepath.Join(t.TempDir(), "new.db"), api).done
	require.ErrorIs(t, err, identity.ErrMismatch)
	require.ErrorContains(t, err, "store.url names another database")
	prod.becomes(t, http.StatusOK)
	require.NoError(t, prod.stop())
}

// A database file that is removed under a running fleet takes nothing more with
// it: what comes from then on stays in Redis.
func TestADatabaseRemovedUnderAWorker(t *testing.T) {
	redis, api := redistest.Start(t).URL(), account(t)
	db := filepath.Join(t.TempDir(), "tarn.db")
	var said bytes.Buffer // read once the worker has ended
	w := run(t, redis, db, api, func(p *process.Process) { p.Logger = slog.New(slog.NewTextHandler(&said, nil)) })
	w.becomes(t, http.StatusOK)
	q := queue(t, redis)
	send(t, q, "before")
	require.Eventually(t, func() bool { return waiting(t, q) == 0 }, time.Minute, 20*time.Millisecond)

	files, err := filepath.Glob(db + "*")
	require.NoError(t, err)
	require.Len(t, files, 5)
	for _, f := range files {
		require.NoError(t, os.Remove(f))
	}
	send(t, q, "after")
	w.becomes(t, http.StatusServiceUnavailable)
	require.Eventually(t, func() bool { // it holds no lease any more
		shards, _, err := q.Fleet(t.Context(), []string{"lemon"})
		return err == nil && shards[0].Owner == ""
	}, time.Minute, 20*time.Millisecond)
	require.Equal(t, 1, waiting(t, q), "read perhaps, not acknowledged")
	require.NoError(t, w.stop())
	require.NotContains(t, said.String(), "could not release the lease", "a line for each shard says nothing")

	require.ErrorContains(t, <-run(t, redis, db, api).done, "start one process with --adopt")
	w = run(t, redis, db, api, adopting)
	w.becomes(t, http.StatusOK)
	require.Eventually(t, func() bool { return waiting(t, q) == 0 }, time.Minute, 20*time.Millisecond)
	require.NoError(t, w.stop())
	require.True(t, logged(t, db, "after"))
}

// A worker that stops for a mismatch works again once there is none.
func TestAWorkerGoesOnAfterAMismatch(t *testing.T) {
	srv, api := redistest.Start(t), account(t)
	db := filepath.Join(t.TempDir(), "tarn.db")
	w := run(t, srv.URL(), db, api)
	w.becomes(t, http.StatusOK)
	q := queue(t, srv.URL())
	id, err := q.Identity(t.Context())
	require.NoError(t, err)
	require.NoError(t, srv.Client().HSet(t.Context(), "{tarn}:identity", "fleet", "another").Err())
	w.becomes(t, http.StatusServiceUnavailable)
	w.shows(t, "tarn_identity_mismatch 1")
	send(t, q, "held")
	require.NoError(t, srv.Client().HSet(t.Context(), "{tarn}:identity", "fleet", id.Fleet).Err())
	w.becomes(t, http.StatusOK)
	require.Eventually(t, func() bool { return waiting(t, q) == 0 }, time.Minute, 20*time.Millisecond)
	require.NoError(t, w.stop())
	require.True(t, logged(t, db, "held"))
}

// shows waits until the metrics of the process have a line.
func (w *worker) shows(t *testing.T, line string) {
	t.Helper()
	require.Eventually(t, func() bool {
		r, err := http.Get("http://" + w.addr + "/metrics")
		if err != nil {
			return false
		}
		defer func() { _ = r.Body.Close() }()
		text, err := io.ReadAll(r.Body)
		return err == nil && strings.Contains(string(text), "\n"+line+"\n")
	}, time.Minute, 20*time.Millisecond, line)
}
