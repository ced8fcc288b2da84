package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/telemetry"
)

func TestSpansOfAWebhook(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	f := newFixture(t, func(o *Options) { o.Tracer = provider.Tracer("test") })
	req := webhook("lemon", orderEvent("evt_1"), noon)
	const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	req.Header.Set("Traceparent", caller)
	req = req.WithContext(telemetry.Remote(req.Context(), caller)) // as middleware in front might
	require.Equal(t, 200, f.do(req).Code)

	spans := recorder.Ended()
	require.Len(t, spans, 2)
	send, hook := spans[0], spans[1]
	require.Equal(t, "send", send.Name())
	require.Equal(t, trace.SpanKindProducer, send.SpanKind())
	require.Equal(t, hook.SpanContext().SpanID(), send.Parent().SpanID())

	require.Equal(t, "webhook", hook.Name())
	require.Equal(t, trace.SpanKindServer, hook.SpanKind())
	require.False(t, hook.Parent().IsValid(), "a stranger does not choose our trace")
	require.NotEqual(t, telemetry.TraceID(caller), hook.SpanContext().TraceID().String())
	require.Len(t, hook.Links(), 1)
	require.Equal(t, telemetry.TraceID(caller), hook.Links()[0].SpanContext.TraceID().String())

	carried := telemetry.SpanContext(f.queue.appended()[0].Signal.Trace)
	require.Equal(t, send.SpanContext().SpanID(), carried.SpanID(), "the entry carries the span that sent it")

	for _, s := range spans {
		text := fmt.Sprint(s.Attributes(), s.Events(), s.Status())
		for _, secret := range []string{testSecret, "cusa_1", "bord_1", "v1="} {
			require.False(t, strings.Contains(text, secret), "%s in span %s", secret, s.Name())
		}
	}
}

func TestRefusedWebhookEndsItsSpan(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	f := newFixture(t, func(o *Options) { o.Tracer = provider.Tracer("test") })
	f.do(signed("{}", "t=1,v1=00"))
	require.Len(t, recorder.Ended(), 1)
	f.do(webhook("stranger", "{}", noon))
	require.Len(t, recorder.Ended(), 1, "requests for unknown sources make no spans")
}
