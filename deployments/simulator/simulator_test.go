package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testSecret = "0123456789abcdef"
	soon       = time.Minute
	often      = 5 * time.Millisecond
)

// running is a simulator that runs and serves until the test ends.
type running struct {
	*Simulator
	t    *testing.T
	url  string
	stop func()
}

func start(t *testing.T, o Options) *running {
	t.Helper()
	s, err := New(o)
	require.NoError(t, err)
	server := httptest.NewServer(s.Handler())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	r := &running{Simulator: s, t: t, url: server.URL}
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	t.Cleanup(r.stop)
	return r
}

// ask sends a request as a well-behaved client of the API does.
func (r *running) ask(method, path string, body string) (int, http.Header, []byte) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, bytes.NewReader([]byte(body)))
	require.NoError(r.t, err)
	req.Header.Set("Authorization", "Bearer key")
	req.Header.Set("LMG-Data-Privacy-Access-Principal", "test-none")
	req.Header.Set("LMG-Data-Privacy-Access-Justification", "test-1")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return resp.StatusCode, resp.Header, text
}

func (r *running) get(path string) (int, []byte) {
	r.t.Helper()
	status, _, body := r.ask(http.MethodGet, path, "")
	return status, body
}

// grow makes steps of life, without waiting for them.
func grow(t *testing.T, w *world, steps int) {
	t.Helper()
	for range steps {
		_, err := w.step()
		require.NoError(t, err)
	}
}

// ticking is a clock that goes on by a millisecond each time it is read.
func ticking() func() time.Time {
	var mu sync.Mutex
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Millisecond)
		return now
	}
}

// receiver takes webhooks and answers as configured.
type receiver struct {
	*httptest.Server
	header string // of the signature
	mu     sync.Mutex
	answer func(r *http.Request, body []byte) int
	got    []received
}

type received struct {
	id, signature string
	body          []byte
	status        int
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{header: SignatureHeader, answer: func(*http.Request, []byte) int { return http.StatusOK }}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// ServeHTTP takes one webhook.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body)
	var e envelope
	_ = json.Unmarshal(body, &e)
	r.mu.Lock()
	status := r.answer(req, body)
	r.got = append(r.got, received{e.ID, req.Header.Get(r.header), body, status})
	r.mu.Unlock()
	w.WriteHeader(status)
}

func (r *receiver) taken() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.got...)
}

// ids counts the accepted posts of each event.
func (r *receiver) ids() map[string]int {
	out := map[string]int{}
	for _, g := range r.taken() {
		if g.status == http.StatusOK {
			out[g.id]++
		}
	}
	return out
}

func (r *receiver) options() Options {
	return Options{WebhookURL: r.URL, WebhookSecret: testSecret, KeepVersions: -1, KeepEvents: -1, Retries: []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond}}
}

func TestOptions(t *testing.T) {
	for name, tc := range map[string]struct {
		options Options
		want    string
	}{
		"negative rate":      {Options{Rate: -1}, "rate: -1 is negative"},
		"negative parallel":  {Options{Parallel: -2}, "parallel: -2 is negative"},
		"no secret":          {Options{WebhookURL: "http://127.0.0.1:1/x"}, "webhook secret: missing"},
		"bad url":            {Options{WebhookURL: "nowhere", WebhookSecret: "s"}, "must be an absolute URL"},
		"chance over one":    {Options{Chaos: Chaos{Lose: 1.5}}, "lose: 1.5 is not a chance"},
		"unknown outage":     {Options{Chaos: Chaos{Outage: "418"}}, `outage: "418"`},
		"odd entity":         {Options{Chaos: Chaos{Entities: map[string]int{"bord_1": 404}}}, "is not kind/id"},
		"entity answers 200": {Options{Chaos: Chaos{Entities: map[string]int{"order/bord_1": 200}}}, "is no error"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tc.options)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestWorldsOfOneSeedAreTheSame(t *testing.T) {
	world := func(seed uint64) []Truth {
		s, err := New(Options{Seed: seed, Now: ticking()})
		require.NoError(t, err)
		grow(t, s.world, 500)
		return s.Truth("", 0)
	}
	require.Equal(t, world(7), world(7))
	require.NotEqual(t, world(7), world(8))
}

func TestEveryTimestampIsItsOwn(t *testing.T) {
	stopped := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	s, err := New(Options{Now: func() time.Time { return stopped }})
	require.NoError(t, err)
	grow(t, s.world, 500)
	seen := map[time.Time]bool{}
	for _, truth := range s.Truth("", 0) {
		for _, v := range s.History(truth.Kind, truth.ID) {
			require.False(t, seen[v.At], "two versions at %v", v.At)
			seen[v.At] = true
		}
	}
	last := time.Time{}
	for _, e := range s.world.events {
		require.True(t, e.CreatedAt.After(last))
		require.False(t, seen[e.CreatedAt], "event at the time of a version")
		last = e.CreatedAt
	}
}

// An entity whose change no event names could never be found by following events.
// Only what is derived, and settlement accounts, may do that.
func TestEveryChangeHasAnEventThatNamesIt(t *testing.T) {
	s, err := New(Options{Now: ticking(), MaxEntities: -1})
	require.NoError(t, err)
	for range 1500 {
		seq, eventSeq := s.world.seq, s.world.eventSeq
		grow(t, s.world, 1)
		named := map[string]bool{}
		for _, n := range s.eventsAfter(eventSeq) {
			for _, id := range n.Context {
				named[id] = true
			}
		}
		for _, truth := range s.Truth("", seq) {
			switch truth.Kind {
			case "positions", "financials", "settlement_accounts":
				continue
			}
			require.True(t, named[truth.ID], "%s %s changed without an event", truth.Kind, truth.ID)
		}
	}
}

func TestAFullWorldGoesOnWithoutGrowing(t *testing.T) {
	s, err := New(Options{Now: ticking(), MaxEntities: 400, KeepEvents: 100, KeepVersions: 3})
	require.NoError(t, err)
	grow(t, s.world, 2000)
	size := len(s.world.entities)
	require.Less(t, size, 800, "what is under way is brought to its end")
	grow(t, s.world, 1000)
	require.Equal(t, size, len(s.world.entities))
	require.Len(t, s.world.events, 100)
	for _, e := range s.world.entities {
		require.LessOrEqual(t, len(e.versions), 3)
	}
	require.Greater(t, s.Counters().Events, int64(2999))
}

func TestDecimals(t *testing.T) {
	for name, tc := range map[string]struct {
		n      int64
		places int
		want   string
	}{
		"zero":        {0, 2, "0.00"},
		"one cent":    {1, 2, "0.01"},
		"round":       {150, 2, "1.50"},
		"negative":    {-150, 2, "-1.50"},
		"less than 1": {-5, 2, "-0.05"},
		"price":       {2160199, 4, "216.0199"},
		"shares":      {46292, 5, "0.46292"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, decimal(tc.n, tc.places))
			require.Equal(t, tc.n, units(tc.want))
		})
	}
	require.Equal(t, int64(9999), cost(afford(10000, 2160199), 2160199), "rounded down, never up")
}
