package telemetry_test

import (
	"net/http"
	"net/http/httptest"
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
		`tarn_received_total{source="lemon"} 1`,
		`tarn_rejected_total{reason="too_old",source="lemon"} 3`,
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

// Every metric is used with the labels it was made with, and has a help text.
func TestMetricNames(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := telemetry.NewMetrics(registry)
	m.Fetches.WithLabelValues("lemon", "order", "live", "200").Inc()
	m.Handovers.Inc()
	m.Discrepancies.WithLabelValues("lemon", "order", "stale").Inc()
	families, err := registry.Gather()
	require.NoError(t, err)
	require.NotEmpty(t, families)
	for _, f := range families {
		require.True(t, strings.HasPrefix(f.GetName(), "tarn_"), f.GetName())
		require.True(t, strings.HasSuffix(f.GetHelp(), "."), "%s: help %q is no sentence", f.GetName(), f.GetHelp())
	}
}
