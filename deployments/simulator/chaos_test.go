package simulator

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ordered is a running world with a young order in it and its path.
func ordered(t *testing.T, c Chaos) (*running, Truth, string) {
	r := start(t, Options{Chaos: c})
	require.NoError(t, r.StartLoad(Load{Entities: 20, Accounts: 2, Events: 400, Rate: 1e6}))
	require.Eventually(t, func() bool { return r.LoadProgress().Done }, soon, often)
	o := r.Truth("order", 0)[0]
	return r, o, "/v1/accounts/" + o.Account + "/orders/" + o.ID
}

// statuses counts the answers of n requests.
func statuses(r *running, path string, n int) map[int]int {
	out := map[int]int{}
	for range n {
		status, _ := r.get(path)
		out[status]++
	}
	return out
}

func TestAPIChaosByChance(t *testing.T) {
	for name, tc := range map[string]struct {
		chaos Chaos
		bad   []int
	}{
		"429":    {Chaos{TooMany: 0.5}, []int{429}},
		"5xx":    {Chaos{ServerError: 0.5}, []int{500, 502, 503}},
		"at all": {Chaos{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, _, path := ordered(t, tc.chaos)
			got, bad := statuses(r, path, 200), 0
			for _, status := range tc.bad {
				require.Positive(t, got[status])
				bad += got[status]
			}
			require.Equal(t, 200-bad, got[200])
			if tc.bad != nil {
				require.InDelta(t, 100, bad, 35)
			}
			counted := r.Counters().Requests["GET /v1/accounts/{parent}/orders/{id}"]
			require.EqualValues(t, got[200], counted["200"])
		})
	}
}

func TestRateLimit(t *testing.T) {
	r, _, path := ordered(t, Chaos{RateLimit: 10, RetryAfter: Duration(1500 * time.Millisecond)})
	got := statuses(r, path, 60)
	require.GreaterOrEqual(t, got[200], 10, "a second's worth at once")
	require.Positive(t, got[429])
	var header http.Header
	require.Eventually(t, func() bool {
		status, h, _ := r.ask(http.MethodGet, path, "")
		header = h
		return status == http.StatusTooManyRequests
	}, soon, time.Millisecond)
	require.Equal(t, "2", header.Get("Retry-After"), "whole seconds, rounded up")
}

func TestOutages(t *testing.T) {
	r, _, path := ordered(t, Chaos{})
	for outage, want := range map[string]int{"401": 401, "403": 403, "404": 404, "429": 429, "500": 500, "502": 502, "503": 503, "not-provider": 404} {
		t.Run(outage, func(t *testing.T) {
			r.SetChaos(Chaos{Outage: outage})
			status, header, body := r.ask(http.MethodGet, path, "")
			require.Equal(t, want, status)
			require.Equal(t, outage != "not-provider", json.Valid(body))
			require.Equal(t, want == 429, header.Get("Retry-After") != "")
		})
	}
	t.Run("redirect", func(t *testing.T) {
		r.SetChaos(Chaos{Outage: "redirect"})
		resp, err := http.DefaultTransport.RoundTrip(request(t, t.Context(), r.url+path))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusFound, resp.StatusCode)
	})
	t.Run("down", func(t *testing.T) {
		r.SetChaos(Chaos{Outage: "down"})
		_, err := http.DefaultClient.Do(request(t, t.Context(), r.url+path))
		require.Error(t, err)
		require.Eventually(t, func() bool {
			return r.Counters().Requests["GET /v1/accounts/{parent}/orders/{id}"]["cut"] > 0
		}, soon, often)
	})
	r.SetChaos(Chaos{})
	status, _ := r.get(path)
	require.Equal(t, 200, status)
}

func request(t *testing.T, ctx context.Context, url string) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer key")
	req.Header.Set("LMG-Data-Privacy-Access-Principal", "a")
	req.Header.Set("LMG-Data-Privacy-Access-Justification", "b")
	return req
}

func TestLatencyAndHangs(t *testing.T) {
	r, _, path := ordered(t, Chaos{Latency: Duration(60 * time.Millisecond)})
	began := time.Now()
	status, _ := r.get(path)
	require.Equal(t, 200, status)
	require.GreaterOrEqual(t, time.Since(began), 30*time.Millisecond)

	r.SetChaos(Chaos{Hang: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	_, err := http.DefaultClient.Do(request(t, ctx, r.url+path))
	require.ErrorIs(t, err, context.DeadlineExceeded)

	r.SetChaos(Chaos{Hang: 1, HangFor: Duration(10 * time.Millisecond)})
	_, err = http.DefaultClient.Do(request(t, t.Context(), r.url+path))
	require.ErrorIs(t, err, io.EOF, "cut off, not answered")
}

func TestEntitiesOfTheirOwn(t *testing.T) {
	r, o, path := ordered(t, Chaos{})
	r.SetChaos(Chaos{Entities: map[string]int{"order/" + o.ID: 403, "financials/" + o.Account: 503}})
	status, _ := r.get(path)
	require.Equal(t, 403, status)
	status, _ = r.get("/v1/accounts/" + o.Account + "/financials")
	require.Equal(t, 503, status)
	status, _ = r.get("/v1/accounts/" + o.Account)
	require.Equal(t, 200, status, "the others are well")
}

// The world's clock is set by hand here: what chaos does by time must follow
// it and nothing else.
func TestYoungAndStale(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	s, err := New(Options{Now: func() time.Time { return now }, KeepVersions: -1})
	require.NoError(t, err)
	at := func(d time.Duration) { now = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC).Add(d) }
	var id, acc string
	do := func(f func(c *change)) {
		_, err := s.world.change(f)
		require.NoError(t, err)
	}
	do(func(c *change) {
		c.load = &loadState{Number: 1}
		acc = c.loadAccount()
		id = c.loadOrder(acc)
	})
	e := s.world.find("order", id)

	s.SetChaos(Chaos{NotFound: 1, NotFoundFor: Duration(time.Second)})
	at(900 * time.Millisecond)
	require.True(t, s.chaos.hides(e, now))
	at(1100 * time.Millisecond)
	require.False(t, s.chaos.hides(e, now))

	at(10 * time.Second)
	do(func(c *change) { c.stirOrder(e, e.link) })
	s.SetChaos(Chaos{Stale: 1, StaleFor: Duration(2 * time.Second)})
	at(10*time.Second + 100*time.Millisecond)
	seen := map[int]int{}
	for range 200 {
		seen[s.chaos.seen(e, now).N]++
	}
	require.Positive(t, seen[1], "as it was")
	require.Positive(t, seen[2], "and as it is")
	at(13 * time.Second)
	for range 50 {
		require.Equal(t, 2, s.chaos.seen(e, now).N, "not after the window")
	}
}

func TestChaosOverHTTP(t *testing.T) {
	r := start(t, Options{})
	put := func(method, body string) (int, Chaos, string) {
		status, _, text := r.ask(method, "/_sim/chaos", body)
		var c Chaos
		_ = json.Unmarshal(text, &c)
		return status, c, string(text)
	}
	status, c, _ := put(http.MethodPut, `{"duplicate":0.25,"max_delay":"1.5s","entities":{"order/bord_1":404}}`)
	require.Equal(t, 200, status)
	require.Equal(t, Chaos{Duplicate: 0.25, MaxDelay: Duration(1500 * time.Millisecond), Entities: map[string]int{"order/bord_1": 404}}, c)
	status, c, _ = put(http.MethodPatch, `{"lose":0.5}`)
	require.Equal(t, 200, status)
	require.Equal(t, []float64{0.25, 0.5}, []float64{c.Duplicate, c.Lose}, "PATCH keeps the rest")
	status, c, _ = put(http.MethodGet, "")
	require.Equal(t, 200, status)
	require.InDelta(t, 0.5, c.Lose, 0)
	_, c, _ = put(http.MethodPut, `{}`)
	require.Equal(t, Chaos{}, c, "PUT replaces all")

	for body, want := range map[string]string{
		`{"duplicate":2}`:        "not a chance",
		`{"max_delay":"-1s"}`:    "negative",
		`{"max_delay":"soon"}`:   "invalid duration",
		`{"duplicates":0.5}`:     "unknown field",
		`{"entities":{"x/y":1}}`: "not kind/id",
		`{`:                      "EOF",
	} {
		t.Run(body, func(t *testing.T) {
			status, _, text := put(http.MethodPut, body)
			require.Equal(t, 400, status)
			require.Contains(t, text, want)
		})
	}
}

func FuzzReadChaos(f *testing.F) {
	f.Add(`{"duplicate":0.5,"max_delay":"2s"}`)
	f.Add(`{"outage":"down","entities":{"order/x":500}}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ReadChaos(strings.NewReader(text), Chaos{})
		if err != nil {
			return
		}
		require.NoError(t, c.Check(), "what is read makes sense")
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("eyJhIjo1fQ", "3")
	f.Add("eyJhIjotOTIyMzM3MjAzNjg1NDc3NTgwOH0", "")
	s, err := New(Options{Now: ticking()})
	require.NoError(f, err)
	for range 200 {
		if _, err := s.world.step(); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, cursor, limit string) {
		r, err := http.NewRequest(http.MethodGet, "/", nil)
		require.NoError(t, err)
		q := r.URL.Query()
		q.Set("cursor", cursor)
		q.Set("limit", limit)
		r.URL.RawQuery = q.Encode()
		got, err := readQuery(r, "status")
		if err != nil {
			return
		}
		show := func(e *entity) json.RawMessage { return e.current().State }
		require.LessOrEqual(t, len(listEntities(got, s.world.under("account", ""), show).Data), maxLimit)
		require.LessOrEqual(t, len(listEvents(got, s.world.events, time.Time{}, s.chaos.listed).Data), maxLimit)
		_, err = listElements(got, json.RawMessage(`[1,2,3]`))
		require.NoError(t, err)
	})
}
