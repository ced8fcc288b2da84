package alert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// posted is the body of a post.
type posted struct {
	Alerts  []map[string]string
	Dropped []struct {
		Source, Kind string
		Count        int
	}
}

// hook is a webhook whose answers are a Go function.
type hook struct {
	*httptest.Server
	got    chan posted
	mu     sync.Mutex
	answer func(n int) int // the status of the nth request, from 1
	n      int
}

func newHook(t *testing.T) *hook {
	h := &hook{got: make(chan posted, 100), answer: func(int) int { return http.StatusNoContent }}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var p posted
		if err := json.NewDecoder(r.Body).Decode(&p); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("posted %v as %q", err, r.Header.Get("Content-Type"))
		}
		h.mu.Lock()
		h.n++
		status := h.answer(h.n)
		h.mu.Unlock()
		if status/100 == 2 {
			h.got <- p
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) answers(f func(n int) int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = f
}

func (h *hook) next(t *testing.T) posted {
	t.Helper()
	select {
	case p := <-h.got:
		return p
	case <-time.After(time.Minute):
		require.FailNow(t, "nothing was posted")
		return posted{}
	}
}

// start runs alerts; stop ends them and waits.
func start(t *testing.T, o alert.Options) (a *alert.Alerts, stop func()) {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Gather == 0 {
		o.Gather = time.Millisecond
	}
	o.Client = &http.Client{Transport: &http.Transport{}}
	o.Retry = fate.Backoff{First: time.Millisecond, Cap: 5 * time.Millisecond}
	a = alert.New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done; o.Client.CloseIdleConnections() })
	t.Cleanup(stop)
	return a, stop
}

func TestAlertIsLoggedCountedAndPosted(t *testing.T) {
	h := newHook(t)
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	metrics := telemetry.NewMetrics(registry)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	a, _ := start(t, alert.Options{
		Webhook: h.URL, Metrics: metrics, Logger: slog.New(slog.NewJSONHandler(&log, nil)),
		Now: func() time.Time { return at },
	})
	a.Raise(alert.Alert{
		Kind: alert.DeadLetter, Source: "lemon", ID: "dl_1", Event: "evt_1", Entity: "lemon/order/bord_1",
		Reason: "HTTP 422: no", Class: "permanent", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736",
	})
	require.Equal(t, posted{Alerts: []map[string]string{{
		"at": "2026-03-01T11:00:00Z", "kind": "dead_letter", "source": "lemon", "id": "dl_1", "event": "evt_1",
		"entity": "lemon/order/bord_1", "reason": "HTTP 422: no", "class": "permanent",
		"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
	}}}, h.next(t))
	require.Contains(t, log.String(), `"level":"ERROR","msg":"dead letter","alert":"dead_letter","source":"lemon","id":"dl_1","event":"evt_1"`)
	scrape := httptest.NewRecorder()
	telemetry.MetricsHandler(registry).ServeHTTP(scrape, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Contains(t, scrape.Body.String(), `tarn_alerts_total{kind="dead_letter",source="lemon"} 1`)
}

func TestEveryKindHasItsLine(t *testing.T) {
	var log bytes.Buffer
	a := alert.New(alert.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, k := range []alert.Kind{alert.DeadLetter, alert.SourcePaused, alert.Rewritten, alert.Discrepancy, alert.Blocked} {
		log.Reset()
		a.Raise(alert.Alert{Kind: k})
		require.NotContains(t, log.String(), "msg="+string(k), "a sentence, not the name of the kind")
		require.NotContains(t, log.String(), "event=", "what is empty is left out")
	}
}

func TestAWarningHasItsOwnLine(t *testing.T) {
	var log bytes.Buffer
	a := alert.New(alert.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	a.Raise(alert.Alert{Kind: alert.Discrepancy, Warning: "the provider sends no webhooks for 2 event types"})
	require.Contains(t, log.String(), `level=WARN msg="the provider sends no webhooks for 2 event types" alert=discrepancy`)
	require.NotContains(t, log.String(), "ERROR")
}

func TestAlertsAreBatchedAndTriedAgain(t *testing.T) {
	h := newHook(t)
	h.answers(func(n int) int { return []int{500, 404, 302, 200}[min(n-1, 3)] })
	a, _ := start(t, alert.Options{Webhook: h.URL, Gather: 2 * time.Second, Batch: 3})
	for i := range 5 {
		a.Raise(alert.Alert{Kind: alert.DeadLetter, Event: fmt.Sprint(i)})
	}
	first, second := h.next(t), h.next(t)
	require.Len(t, first.Alerts, 3)
	require.Len(t, second.Alerts, 2)
	require.Equal(t, "0", first.Alerts[0]["event"], "in order")
	require.Equal(t, "4", second.Alerts[1]["event"])
	require.Empty(t, first.Dropped)
}

// A webhook that hangs blocks no caller, and alerts that do not fit in the queue
// are reported as dropped.
func TestRaisingNeverBlocks(t *testing.T) {
	h := newHook(t)
	arrived, goOn := make(chan struct{}), make(chan struct{})
	h.answers(func(n int) int {
		if n == 1 {
			close(arrived)
			<-goOn
		}
		return 200
	})
	a, _ := start(t, alert.Options{Webhook: h.URL, Queue: 10})
	a.Raise(alert.Alert{Kind: alert.SourcePaused, Source: "lemon"})
	<-arrived
	for range 25 {
		a.Raise(alert.Alert{Kind: alert.DeadLetter, Source: "lemon"})
	}
	for range 3 {
		a.Raise(alert.Alert{Kind: alert.DeadLetter, Source: "acme"})
	}
	close(goOn)
	require.Len(t, h.next(t).Alerts, 1)
	next := h.next(t)
	require.Len(t, next.Alerts, 10)
	require.Len(t, next.Dropped, 2)
	require.Equal(t, "acme", next.Dropped[0].Source)
	require.Equal(t, 3, next.Dropped[0].Count)
	require.Equal(t, 15, next.Dropped[1].Count)
	a.Raise(alert.Alert{Kind: alert.DeadLetter})
	require.Empty(t, h.next(t).Dropped, "reported once")
}

func TestStopFlushes(t *testing.T) {
	t.Run("what waits", func(t *testing.T) {
		h := newHook(t)
		a, stop := start(t, alert.Options{Webhook: h.URL, Gather: time.Hour, Batch: 2})
		for range 3 {
			a.Raise(alert.Alert{Kind: alert.DeadLetter})
		}
		stop()
		require.Len(t, h.next(t).Alerts, 2)
		require.Len(t, h.next(t).Alerts, 1)
	})
	t.Run("a batch that is being tried again", func(t *testing.T) {
		h := newHook(t)
		failed := make(chan struct{}, 1)
		h.answers(func(int) int {
			select {
			case failed <- struct{}{}:
			default:
			}
			return 500
		})
		a, stop := start(t, alert.Options{Webhook: h.URL})
		a.Raise(alert.Alert{Kind: alert.DeadLetter, Event: "evt_1"})
		<-failed
		a.Raise(alert.Alert{Kind: alert.DeadLetter, Event: "evt_2"})
		h.answers(func(int) int { return 200 })
		stop()
		require.Equal(t, "evt_1", h.next(t).Alerts[0]["event"])
		require.Equal(t, "evt_2", h.next(t).Alerts[0]["event"])
	})
	t.Run("within its time", func(t *testing.T) {
		release := make(chan struct{})
		hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-release:
			}
		}))
		defer hangs.Close()
		defer close(release)
		var log bytes.Buffer
		a, stop := start(t, alert.Options{
			Webhook: hangs.URL + "/secret", Flush: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		a.Raise(alert.Alert{Kind: alert.DeadLetter})
		begun := time.Now()
		stop()
		require.Less(t, time.Since(begun), 5*time.Second)
		require.Contains(t, log.String(), "not posted")
		require.NotContains(t, log.String(), "secret", "the address may be one")
	})
}

func TestWithoutAWebhookNothingIsKept(t *testing.T) {
	var log bytes.Buffer
	a, stop := start(t, alert.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 {
		a.Raise(alert.Alert{Kind: alert.Rewritten})
	}
	stop()
	require.Equal(t, 3, strings.Count(log.String(), "level=ERROR"))
	require.NotContains(t, log.String(), "not posted")
}
