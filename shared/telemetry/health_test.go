package telemetry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// clock is a time that moves only when a test sets it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type health struct {
	Type, Detail string
	Status       any `json:"status"`
	Loops        []struct {
		Name      string `json:"name"`
		LastTurn  string `json:"last_turn"`
		WaitingOn string `json:"waiting_on"`
		Stuck     bool   `json:"stuck"`
	} `json:"loops"`
}

func get(t *testing.T, h http.Handler, into any) int {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/?verbose", nil))
	require.Equal(t, map[bool]string{true: "application/json", false: problems.ContentType}[rec.Code == http.StatusOK], rec.Header().Get("Content-Type"))
	require.Equal(t, "no-store", rec.Header().Get("Cache-Control"))
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), into))
	return rec.Code
}

func TestHealthz(t *testing.T) {
	cases := map[string]struct {
		do    func(c *clock, reads, leases *telemetry.Loop)
		code  int
		first string
	}{
		"fresh":        {func(*clock, *telemetry.Loop, *telemetry.Loop) {}, 200, "leases"},
		"just in time": {func(c *clock, _, _ *telemetry.Loop) { c.Move(telemetry.StuckAfter) }, 200, "leases"},
		"both stuck":   {func(c *clock, _, _ *telemetry.Loop) { c.Move(telemetry.StuckAfter + 1) }, 503, "leases"},
		"one stuck":    {func(c *clock, _, leases *telemetry.Loop) { c.Move(time.Minute); leases.Turn() }, 503, "reads"},
		"turned again": {func(c *clock, reads, leases *telemetry.Loop) { c.Move(time.Minute); reads.Turn(); leases.Turn() }, 200, "leases"},
		"one is done":  {func(c *clock, reads, leases *telemetry.Loop) { c.Move(time.Minute); reads.Done(); leases.Turn() }, 200, "leases"},
		"waits an hour": {func(c *clock, reads, leases *telemetry.Loop) {
			reads.Waiting("store")
			c.Move(time.Hour)
			leases.Turn()
		}, 200, "leases"},
		"stuck after waiting": {func(c *clock, reads, leases *telemetry.Loop) {
			reads.Waiting("store")
			reads.Turn()
			c.Move(time.Minute)
			leases.Turn()
		}, 503, "reads"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := &clock{now: time.Unix(1_700_000_000, 0)}
			h := telemetry.NewHealth(c.Now)
			tc.do(c, h.Loop("reads"), h.Loop("leases"))
			var got health
			require.Equal(t, tc.code, get(t, h.Healthz(), &got))
			require.Equal(t, tc.first, got.Loops[0].Name, "stuck loops come first")
			require.Equal(t, tc.code != 200, got.Loops[0].Stuck)
			require.Equal(t, map[int]any{200: "ok", 503: 503.0}[tc.code], got.Status)
			require.Regexp(t, `^2023-11-14T2\d:1\d:20\.000Z$`, got.Loops[0].LastTurn)
			if tc.code != 200 {
				require.Equal(t, problems.Base+problems.Stuck, got.Type)
				require.Contains(t, got.Detail, tc.first)
			}

			short := httptest.NewRecorder()
			h.Healthz().ServeHTTP(short, httptest.NewRequest(http.MethodGet, "/healthz", nil))
			require.Equal(t, tc.code, short.Code)
			require.NotContains(t, short.Body.String(), "last_turn")
			if tc.code == 200 {
				require.Equal(t, "{\"status\":\"ok\"}\n", short.Body.String())
			}
		})
	}
}

// The short answer of a worker with hundreds of stuck loops stays short.
func TestHealthzNamesSomeOfManyStuckLoops(t *testing.T) {
	c := &clock{now: time.Unix(1_700_000_000, 0)}
	h := telemetry.NewHealth(c.Now)
	for i := range 300 {
		h.Loop(fmt.Sprintf("acks %03d", i))
		h.Loop("same")
	}
	c.Move(time.Minute)
	rec := httptest.NewRecorder()
	h.Healthz().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	require.Equal(t, http.StatusServiceUnavailable, rec.Code)
	require.Contains(t, rec.Body.String(), "loops that have not turned for 30s: acks 000, acks 001")
	require.Contains(t, rec.Body.String(), "and 291 more")
	require.Less(t, rec.Body.Len(), 400)
}

func TestHealthzSaysWhatIsWaitedFor(t *testing.T) {
	h := telemetry.NewHealth(nil)
	h.Loop("reads").Waiting("redis")
	var got health
	get(t, h.Healthz(), &got)
	require.Equal(t, "redis", got.Loops[0].WaitingOn)
}

func TestNilHealth(t *testing.T) {
	var h *telemetry.Health
	loop := h.Loop("anything")
	loop.Turn()
	loop.Waiting("anything")
	loop.Done()
}

func TestReadyz(t *testing.T) {
	up := func(context.Context) error { return nil }
	down := func(context.Context) error { return errors.New("dial tcp 10.0.0.7:6379: connection refused") }
	readOnly := func(context.Context) error { return fmt.Errorf("redis at 10.0.0.7 %w", fate.ErrNoWrites) }
	slow := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	type checks = map[string]telemetry.Check
	cases := map[string]struct {
		needed, told checks
		code         int
		want         string
	}{
		"all up":              {checks{"redis": up, "store": up}, nil, 200, `{"status":"ready","checks":{"redis":"ok","store":"ok"}}`},
		"one down":            {checks{"redis": down, "store": up}, nil, 503, `{"checks":{"redis":"not ready","store":"ok"}}`},
		"one takes no writes": {checks{"redis": readOnly, "store": up}, nil, 503, `{"checks":{"redis":"takes no writes","store":"ok"}}`},
		"one hangs":           {checks{"redis": slow}, nil, 503, `{"checks":{"redis":"not ready"}}`},
		"one is only told":    {checks{"redis": up}, checks{"store": down}, 200, `{"status":"ready","checks":{"redis":"ok","store":"not ready"}}`},
		"told, and one down":  {checks{"redis": down}, checks{"store": up}, 503, `{"checks":{"redis":"not ready","store":"ok"}}`},
		"nothing":             {nil, nil, 200, `{"status":"ready","checks":{}}`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got json.RawMessage
			require.Equal(t, tc.code, get(t, telemetry.Readyz(tc.needed, tc.told), &got))
			if tc.code == http.StatusOK {
				require.JSONEq(t, tc.want, string(got), "which part, and nothing of why: the page is open")
				return
			}
			require.Contains(t, string(got), strings.TrimPrefix(tc.want, "{"))
			require.Contains(t, string(got), `"type":"`+problems.Base+problems.NotReady+`"`)
			require.Contains(t, string(got), `"detail":"redis: `)
			require.NotContains(t, string(got), "10.0.0.7", "which part, and nothing of why: the page is open")
		})
	}
}

func BenchmarkTurn(b *testing.B) {
	loop := telemetry.NewHealth(nil).Loop("hot")
	for b.Loop() {
		loop.Turn()
	}
}
