package telemetry_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/shared/telemetry/otlptest"
)

// Which traces are kept is what the settings say, unless the environment says it. A
// trace that began elsewhere is kept if that says so, where a sampler asks its parent.
func TestSampling(t *testing.T) {
	const kept, notKept = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	for name, tc := range map[string]struct {
		ratio   float64
		environ []string
		// The shares, of new traces, of those below a span that is kept, and of those
		// below one that is not.
		root, below, belowNone float64
	}{
		"settings":        {0.25, []string{"OTEL_SERVICE_NAME=x"}, 0.25, 1, 0},
		"default":         {0, nil, 1, 1, 0},
		"ratio":           {1, []string{"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.25"}, 0.25, 1, 0},
		"ratio by itself": {1, []string{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=0"}, 0, 0, 0},
		"none given":      {0.5, []string{"OTEL_TRACES_SAMPLER=parentbased_traceidratio"}, 1, 1, 0},
		"off":             {1, []string{"OTEL_TRACES_SAMPLER=always_off"}, 0, 0, 0},
		"on":              {0.01, []string{"OTEL_TRACES_SAMPLER=always_on"}, 1, 1, 1},
		"parents only":    {1, []string{"OTEL_TRACES_SAMPLER=parentbased_always_off"}, 0, 1, 0},
		"the last counts": {1, []string{"OTEL_TRACES_SAMPLER=always_on", "OTEL_TRACES_SAMPLER=always_off"}, 0, 0, 0},
		"empty is none":   {0.25, []string{"OTEL_TRACES_SAMPLER="}, 0.25, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			collector := otlptest.Start()
			defer collector.Close()
			flush := start(t, telemetry.Options{Endpoint: collector.URL(), SampleRatio: tc.ratio, Environ: tc.environ})
			defer flush()
			share := func(parent string) float64 {
				const n = 2000
				sampled := 0
				for range n {
					_, span := otel.Tracer("test").Start(telemetry.Remote(t.Context(), parent), "webhook", trace.WithSpanKind(trace.SpanKindServer))
					if span.SpanContext().IsSampled() {
						sampled++
					}
				}
				return float64(sampled) / n
			}
			require.InDelta(t, tc.root, share(""), 0.05)
			require.InDelta(t, tc.below, share(kept), 0)
			require.InDelta(t, tc.belowNone, share(notKept), 0)
		})
	}
}

// A trace that is kept has an id of its own, by which the sampler kept it, and all its
// spans. One that is not kept costs little and says so to the next process.
func TestTracesAreDrawnBeforeTheyBegin(t *testing.T) {
	collector := otlptest.Start()
	defer collector.Close()
	flush := start(t, telemetry.Options{Service: "x", Endpoint: collector.URL(), SampleRatio: 0.25})
	tracer := otel.Tracer("test")
	found := map[string]bool{}
	for range 400 {
		ctx, root := tracer.Start(telemetry.Remote(t.Context(), example), "webhook", trace.WithNewRoot())
		carried := telemetry.Traceparent(ctx)
		next, child := tracer.Start(ctx, "send")
		require.Equal(t, root.IsRecording(), child.IsRecording())
		require.Equal(t, root.SpanContext().TraceID(), child.SpanContext().TraceID())
		_, process := tracer.Start(telemetry.Remote(t.Context(), telemetry.Traceparent(next)), "process")
		require.Equal(t, root.IsRecording(), process.IsRecording())
		require.Equal(t, root.IsRecording(), telemetry.SpanContext(carried).IsSampled())
		if root.IsRecording() {
			require.Equal(t, root.SpanContext().TraceID().String(), telemetry.TraceID(carried))
			require.False(t, found[telemetry.TraceID(carried)], "each has an id of its own")
			found[telemetry.TraceID(carried)] = true
		} else {
			require.True(t, telemetry.SpanContext(carried).IsValid())
			require.Empty(t, telemetry.TraceID(carried))
		}
		process.End()
		child.End()
		root.End()
	}
	require.InDelta(t, 100, len(found), 50)
	allocations := testing.AllocsPerRun(1000, func() {
		ctx, span := tracer.Start(t.Context(), "webhook", trace.WithNewRoot())
		if !span.IsRecording() {
			telemetry.Traceparent(ctx)
		}
		span.End()
	})
	require.Less(t, allocations, 6.0, "of four, three are not kept")
	flush()
	require.Empty(t, collector.Faults())
	whole := 0
	for _, made := range collector.Traces() {
		if len(made.Spans) == 3 {
			require.True(t, found[made.ID])
			require.Equal(t, 1, made.Roots())
			whole++
		}
	}
	require.Equal(t, len(found), whole)
}

func TestSamplersThatThereAreNot(t *testing.T) {
	for environ, want := range map[string]string{
		"OTEL_TRACES_SAMPLER=jaeger_remote":                                        "OTEL_TRACES_SAMPLER=jaeger_remote: want always_on,",
		"OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=1 %":             `OTEL_TRACES_SAMPLER_ARG is "1 %", want a number from 0 to 1`,
		"OTEL_TRACES_SAMPLER=traceidratio OTEL_TRACES_SAMPLER_ARG=1.01":            "want a number from 0 to 1",
		"OTEL_TRACES_SAMPLER=parentbased_traceidratio OTEL_TRACES_SAMPLER_ARG=NaN": "want a number from 0 to 1",
	} {
		name, arg, _ := strings.Cut(environ, " ")
		_, err := telemetry.Start(t.Context(), telemetry.Options{Endpoint: "http://127.0.0.1:1", Environ: []string{name, arg}})
		require.ErrorContains(t, err, want)
	}
}
