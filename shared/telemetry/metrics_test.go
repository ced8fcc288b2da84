package telemetry_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/telemetry"
)

func scrape(t *testing.T, r *prometheus.Registry, accept string) string {
	t.Helper()
	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", accept)
	rec := httptest.NewRecorder()
	telemetry.MetricsHandler(r).ServeHTTP(rec, req)
	require.Equal(t, http.StatusOK, rec.Code)
	return rec.Body.String()
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := telemetry.NewMetrics(registry)
	m.Received.WithLabelValues("lemon").Inc()
	m.Rejected.WithLabelValues("lemon", "too_old").Add(3)
	m.LeasesHeld.Set(32)
	m.ObserveEventToMirror("lemon", 30*time.Millisecond, example)
	m.ObserveEventToMirror("lemon", 30*time.Millisecond, "")

	text := scrape(t, registry, "text/plain")
	for _, want := range []string{
		`tarn_webhooks_received_total{source="lemon"} 1`,
		`tarn_webhooks_rejected_total{reason="too_old",source="lemon"} 3`,
		`tarn_leases_held 32`,
		`tarn_event_to_mirror_seconds_count{source="lemon"} 2`,
		`tarn_event_to_mirror_seconds_bucket{source="lemon",le="0.05"} 2`,
	} {
		require.Contains(t, text, want)
	}
	open := scrape(t, registry, "application/openmetrics-text; version=1.0.0")
	require.Contains(t, open, `# {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"}`)
}

// Two processes' worth of metrics must not share a registry unnoticed.
func TestMetricsTwiceIsAMistake(t *testing.T) {
	registry := prometheus.NewRegistry()
	telemetry.NewMetrics(registry)
	require.Panics(t, func() { telemetry.NewMetrics(registry) })
}

// Every metric is declared once, with a name of Tarn's and a sentence.
func TestFamilies(t *testing.T) {
	names := map[string]bool{}
	for _, f := range telemetry.Families() {
		require.False(t, names[f.Name], f.Name)
		names[f.Name] = true
		require.True(t, strings.HasPrefix(f.Name, "tarn_"), f.Name)
		require.True(t, strings.HasSuffix(f.Help, "."), "%s: help %q is no sentence", f.Name, f.Help)
		require.NotEmpty(t, f.Binaries, f.Name)
	}
	require.Greater(t, len(names), 40)
}

// A binary registers its own metrics only; using another is harmless and not exported.
func TestMetricsOfABinary(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := telemetry.NewMetrics(registry, telemetry.API)
	m.Received.WithLabelValues("lemon").Inc()
	m.LeasesHeld.Set(3)
	text := scrape(t, registry, "text/plain")
	require.Contains(t, text, "tarn_webhooks_received_total")
	require.NotContains(t, text, "tarn_leases_held")
	for name, want := range map[string]telemetry.Binary{
		"api": telemetry.API, "worker": telemetry.Worker, "worker-2": telemetry.Worker, "reconciler verify": telemetry.Reconciler,
		"test": "", "": "", "workers": "",
	} {
		got, ok := telemetry.BinaryOf(name)
		require.Equal(t, want, got, name)
		require.Equal(t, want != "", ok, name)
	}
}

// A time is recorded with its trace if that is sampled, and costs no memory if not.
func TestExemplars(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := telemetry.NewMetrics(registry)
	seconds, dead := m.FetchSeconds.WithLabelValues("lemon"), m.DeadLetters.WithLabelValues("lemon", "permanent")
	unsampled := telemetry.Remote(t.Context(), strings.TrimSuffix(example, "01")+"00")
	for _, ctx := range []context.Context{t.Context(), unsampled} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			telemetry.Observe(ctx, seconds, time.Millisecond)
			telemetry.CountTraced(ctx, dead)
		}))
	}
	const openMetrics = "application/openmetrics-text; version=1.0.0"
	require.NotContains(t, scrape(t, registry, openMetrics), "trace_id")
	telemetry.Observe(telemetry.Remote(t.Context(), example), seconds, 2*time.Second)
	telemetry.CountTraced(telemetry.Remote(t.Context(), example), dead)
	text := scrape(t, registry, openMetrics)
	const trace = `# {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"}`
	require.Regexp(t, `tarn_fetch_seconds_bucket\{source="lemon",le="2.5"\} \d+ `+regexp.QuoteMeta(trace), text)
	require.Regexp(t, `tarn_dead_letters_total\{class="permanent",source="lemon"\} \d+\.0 `+regexp.QuoteMeta(trace), text)
}

// What package loops reports is counted by what is away.
func TestHeldWorkIsCounted(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := telemetry.NewMetrics(registry)
	m.CountHeld("store")
	m.CountHeld("store_timeout")
	m.Hold("store", 1)
	text := scrape(t, registry, "text/plain")
	for _, want := range []string{
		`tarn_work_held_total{what="store"} 1`, `tarn_work_held_total{what="redis"} 0`, `tarn_held_calls{what="store"} 1`,
		"tarn_store_timeouts_reported_total 1",
	} {
		require.Contains(t, text, want+"\n")
	}
}
