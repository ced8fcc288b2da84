package proof

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/mirror/open"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

const (
	apiKey        = "proof-api-key-0123"
	webhookSecret = "proof-webhook-secret-0123"
	token         = "proof-operator-token-0123"
)

// fleet is Tarn and a simulator, in processes of their own.
type fleet struct {
	t       *testing.T
	ctx     context.Context
	redis   *redistest.Server
	sim     string // address of the simulator
	api     string // address of the api
	store   mirror.Store
	streams *stream.Streams
	config  string
	env     []string
	workers []*process
}

// plan is what a fleet is made of.
type plan struct {
	storeURL string // "": SQLite in a fresh directory
	bulk     int
	faults   string // TARN_FAULT of workers built for it; "": the ordinary build
	workers  int
	shards   int
	env      []string
}

func start(t *testing.T, p plan) *fleet {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	t.Cleanup(cancel)
	f := &fleet{t: t, ctx: ctx, redis: redistest.Start(t, redistest.Appendfsync("everysec")), sim: freeAddr(t), api: freeAddr(t), env: p.env}
	dir := t.TempDir()
	if p.storeURL == "" {
		p.storeURL = "sqlite://" + filepath.Join(dir, "tarn.db")
	}
	if p.bulk == 0 {
		p.bulk = 1000
	}
	f.config = filepath.Join(dir, "tarn.yaml")
	require.NoError(t, os.WriteFile(f.config, fmt.Appendf(nil, `
redis: {url: %q, lease_ttl: 2s}
store: {url: %q, bulk: %d}
shards: %d
operator_tokens: [{name: proof, token: %q, role: operator}]
sources:
  lemon:
    provider: lemon
    api_url: http://%s/v1
    api_key: %s
    webhook_secrets: [%s]
    rate: {limit: 0, concurrency: 64}
retry: {first: 500ms, cap: 2s}
log: {level: warn}
`, f.redis.URL(), p.storeURL, p.bulk, p.shards, token, f.sim, apiKey, webhookSecret), 0o600))

	run(t, "simulator", binary(t, "deployments/simulator", ""), nil,
		"--addr", f.sim, "--rate", "0", "--api-key", apiKey, "--webhook-secret", webhookSecret,
		"--webhook-url", "http://"+f.api+"/webhooks/lemon", "--keep-versions", "-1", "--keep-events", "-1", "--retries", "200ms,1s,1s,1s,1s")
	run(t, "api", binary(t, "api/cmd", ""), append([]string{"TARN_HTTP__ADDR=" + f.api}, p.env...), "--config", f.config)
	f.waitUp(f.sim, "/_sim/counters")
	f.waitUp(f.api, "/readyz")
	for i := range p.workers {
		f.workers = append(f.workers, f.worker(fmt.Sprint("worker ", i+1), p.faults))
	}

	var err error
	quiet := slog.New(slog.DiscardHandler)
	f.store, err = open.Open(ctx, open.Options{URL: p.storeURL, BulkSize: p.bulk, Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.store.Close() })
	f.streams, err = stream.Open(ctx, stream.Options{URLs: []string{f.redis.URL()}, Shards: p.shards, Logger: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.streams.Close() })
	return f
}

// worker starts one more worker; with faults it is the build that has them.
func (f *fleet) worker(name, faults string) *process {
	f.t.Helper()
	tags, env := "", append([]string{"TARN_HTTP__ADDR=" + freeAddr(f.t)}, f.env...)
	if faults != "" {
		tags, env = "fault", append(env, "TARN_FAULT="+faults)
	}
	return run(f.t, name, binary(f.t, "worker/cmd", tags), env, "--config", f.config)
}

func (f *fleet) waitUp(addr, path string) {
	f.t.Helper()
	waitFor(f.t, 20*time.Second, sprint("http://%s%s does not answer 200", addr, path), func() bool {
		r, err := http.Get("http://" + addr + path)
		if err != nil {
			return false
		}
		defer r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// tell sends JSON to the simulator's controls and reads what it answers.
func (f *fleet) tell(method, path string, body, answer any) {
	f.t.Helper()
	b, err := json.Marshal(body)
	require.NoError(f.t, err)
	req, err := http.NewRequestWithContext(f.ctx, method, "http://"+f.sim+path, bytes.NewReader(b))
	require.NoError(f.t, err)
	r, err := http.DefaultClient.Do(req)
	require.NoError(f.t, err)
	defer r.Body.Close()
	out, err := io.ReadAll(r.Body)
	require.NoError(f.t, err)
	require.Equal(f.t, http.StatusOK, r.StatusCode, "%s %s: %s", method, path, out)
	if answer != nil {
		require.NoError(f.t, json.Unmarshal(out, answer))
	}
}

// load makes the simulator make events and waits until it has sent them all.
func (f *fleet) load(entities, accounts, events int, rate float64, within time.Duration) {
	f.t.Helper()
	f.tell("POST", "/_sim/load", map[string]any{"entities": entities, "accounts": accounts, "events": events, "rate": rate}, nil)
	var p struct {
		Made, Delivered, Pending, Lost int
		GaveUp                         int `json:"gave_up"`
		Done                           bool
	}
	waitFor(f.t, within, func() string { return fmt.Sprintf("the load is not sent: %+v", p) }, func() bool {
		f.tell("GET", "/_sim/load", nil, &p)
		return p.Done
	})
	require.Equal(f.t, events, p.Delivered, "events delivered: %+v", p)
}

// drain waits until no event is open and nothing is left in Redis.
func (f *fleet) drain(within time.Duration) {
	f.t.Helper()
	var left int64
	waitFor(f.t, within, func() string { return fmt.Sprintf("%d entries and parked entities are left", left) }, func() bool {
		shards, _, err := f.streams.Fleet(f.ctx, []string{"lemon"})
		if err != nil {
			return false
		}
		left = 0
		for _, s := range shards {
			q := s.Sources["lemon"]
			left += q.Live + q.Background + q.Parked
		}
		return left == 0
	})
	for _, status := range []mirror.EventStatus{mirror.Pending, mirror.Retrying} {
		page, err := f.store.Events(f.ctx, mirror.EventFilter{Status: status, Limit: 1})
		require.NoError(f.t, err)
		require.Empty(f.t, page.Items, "events are %s and nothing is in Redis", status)
	}
}

// truth is one line of the simulator's.
type truth struct {
	Kind, ID string
	Deleted  bool
	State    json.RawMessage
}

func (f *fleet) truth() map[string]truth {
	f.t.Helper()
	r, err := http.Get("http://" + f.sim + "/_sim/truth")
	require.NoError(f.t, err)
	defer r.Body.Close()
	all := map[string]truth{}
	lines := bufio.NewReader(r.Body)
	for dec := json.NewDecoder(lines); ; {
		var line truth
		if err := dec.Decode(&line); err == io.EOF {
			return all
		} else {
			require.NoError(f.t, err)
		}
		all[line.Kind+"/"+line.ID] = line
	}
}
