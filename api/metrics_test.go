package api

import (
	"testing"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/tarn-sync/tarn/shared/stream"
)

// Webhooks are counted by what became of them. The reasons that are Tarn's own begin at
// 0, so that the first of them is an increase.
func TestWebhooksAreCounted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	require.Contains(t, f.get("/metrics").Body.String(), `tarn_webhooks_rejected_total{reason="full",source="lemon"} 0`)
	for range 2 {
		require.Equal(t, 200, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
	}
	f.queue.set(func(q *fakeQueue) { q.err = stream.ErrFull })
	require.Equal(t, 503, f.do(webhook("lemon", orderEvent("evt_2"), noon)).Code)
	require.Equal(t, 404, f.do(webhook("elsewhere", orderEvent("evt_3"), noon)).Code)
	text := f.get("/metrics").Body.String()
	for _, line := range []string{
		`tarn_webhooks_received_total{source="lemon"} 3`,
		`tarn_webhooks_duplicate_total{source="lemon"} 1`,
		`tarn_webhooks_rejected_total{reason="full",source="lemon"} 1`,
		`tarn_webhooks_rejected_total{reason="unknown_source",source="unknown"} 1`,
		`tarn_webhook_accept_seconds_count{source="lemon"} 3`,
	} {
		require.Contains(t, text, line+"\n")
	}
}

// A sampled webhook's trace is the exemplar of its time; one that is not sampled has
// none.
func TestExemplarsOfWebhooks(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sampler sdktrace.Sampler
		want    bool
	}{"sampled": {sdktrace.AlwaysSample(), true}, "not sampled": {sdktrace.NeverSample(), false}} {
		t.Run(name, func(t *testing.T) {
			provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(c.sampler))
			f := newFixture(t, func(o *Options) { o.Tracer = provider.Tracer("test") })
			require.Equal(t, 200, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
			open := f.get("/metrics", "Accept", "application/openmetrics-text; version=1.0.0").Body.String()
			exemplar := `tarn_webhook_accept_seconds_bucket\{source="lemon",le="[^"]+"\} 1 # \{trace_id="[0-9a-f]{32}"\}`
			if c.want {
				require.Regexp(t, exemplar, open)
			} else {
				require.NotContains(t, open, "trace_id")
			}
		})
	}
}
