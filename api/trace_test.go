package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
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

	require.Equal(t, map[attribute.Key]string{
		"http.request.method": "POST", "http.route": "/webhooks/{source}", "url.path": "/webhooks/lemon", "url.scheme": "http",
		"http.response.status_code": "200", "tarn.source": "lemon",
	}, attributesOf(hook))
	require.Equal(t, "lemon/live", attributesOf(send)["messaging.destination.name"])

	for _, s := range spans {
		text := fmt.Sprint(s.Attributes(), s.Events(), s.Status())
		for _, secret := range []string{testSecret, "cusa_1", "bord_1", "v1="} {
			require.False(t, strings.Contains(text, secret), "%s in span %s", secret, s.Name())
		}
	}
}

// A command has a trace of its own, which begins with the span "command".
func TestSpanOfACommand(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	f := newFixture(t, func(o *Options) { o.Tracer = provider.Tracer("test") })
	f.store.changes = openSQLite(t).Commands()
	w := f.post("/v1/commands", cancels, withKey("k")...)
	require.Equal(t, 202, w.Code, w.Body)
	stored, err := f.store.changes.Command(t.Context(), commandOf(t, w).ID)
	require.NoError(t, err)
	for _, s := range recorder.Ended() {
		if s.Name() == "command" {
			require.False(t, s.Parent().IsValid())
			require.Equal(t, telemetry.TraceID(stored.Trace), s.SpanContext().TraceID().String())
			require.Equal(t, "cancel", attributesOf(s)["tarn.op"])
			return
		}
	}
	require.Fail(t, "no span of the command")
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

func attributesOf(s sdktrace.ReadOnlySpan) map[attribute.Key]string {
	all := map[attribute.Key]string{}
	for _, a := range s.Attributes() {
		all[a.Key] = a.Value.String()
	}
	return all
}

// A webhook that is not durable is a failed one, in both spans.
func TestSpansOfAFailure(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	f := newFixture(t, func(o *Options) { o.Tracer = provider.Tracer("test") })
	f.queue.set(func(q *fakeQueue) { q.err = errors.New("redis at 10.0.0.7 is away") })
	require.Equal(t, 503, f.do(webhook("lemon", orderEvent("evt_1"), noon)).Code)
	send, hook := recorder.Ended()[0], recorder.Ended()[1]
	require.Equal(t, "503", attributesOf(hook)["error.type"])
	require.Equal(t, "transient", attributesOf(send)["error.type"])
	for _, s := range recorder.Ended() {
		require.Equal(t, codes.Error, s.Status().Code)
		require.NotContains(t, fmt.Sprint(s.Status(), s.Events(), s.Attributes()), "10.0.0.7")
	}
}

// The secret in the path of a source that does not sign is in no span.
func TestSpansHaveNoSecretOfAPath(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	f := newFixture(t, func(o *Options) {
		o.Tracer, o.Sources = provider.Tracer("test"), []Source{unsigned(t, testSecret)}
	})
	body := `{"id":"evt_1","type":"order.executed","context":{"order":"o1"}}`
	require.Equal(t, 200, f.do(httptest.NewRequest(http.MethodPost, "/webhooks/shop/"+testSecret, strings.NewReader(body))).Code)
	require.NotEmpty(t, recorder.Ended())
	for _, s := range recorder.Ended() {
		require.NotContains(t, fmt.Sprint(s.Attributes(), s.Name(), s.Events(), s.Status()), testSecret)
	}
	hook := attributesOf(recorder.Ended()[len(recorder.Ended())-1])
	require.Equal(t, "/webhooks/shop/REDACTED", hook["url.path"])
	require.Equal(t, secretWebhookRoute, hook["http.route"])
}

// Events and dead letters have the address of their trace, where one is configured.
func TestAnswersLinkToTraces(t *testing.T) {
	t.Parallel()
	const trace = "0af7651916cd43dd8448eb211c80319c"
	for name, tc := range map[string]struct{ url, want string }{
		"configured": {"https://jaeger.example/trace/{trace_id}?uiFind={trace_id}", "https://jaeger.example/trace/" + trace + "?uiFind=" + trace},
		"not":        {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(o *Options) { o.TraceURL = tc.url })
			id := f.buried()
			f.store.rows[0].TraceID = trace
			for _, path := range []string{"/v1/dead-letters/" + id, "/v1/dead-letters", "/v1/events/evt_1", "/v1/events"} {
				w := f.get(path)
				require.Contains(t, w.Body.String(), `"trace_id":"`+trace+`"`)
				require.Equal(t, tc.want != "", strings.Contains(w.Body.String(), `"trace_url":"`+tc.want+`"`), w.Body)
				if tc.want == "" {
					require.NotContains(t, w.Body.String(), "trace_url")
				}
			}
			f.store.rows[0].TraceID = ""
			require.NotContains(t, f.get("/v1/events/evt_1").Body.String(), "trace_url", "it has no trace")
		})
	}
}

// What travels with an event whose webhook is not traced says so, or workers would trace
// a part of it.
func TestAnEventIsTracedAllTheWayOrNotAtAll(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder), sdktrace.WithSampler(sdktrace.NeverSample()))
	f := newFixture(t, func(o *Options) { o.Tracer = provider.Tracer("test") })
	req := webhook("lemon", orderEvent("evt_1"), noon)
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") // a stranger's, which is sampled
	require.Equal(t, 200, f.do(req).Code)
	require.Empty(t, recorder.Ended())
	carried := telemetry.SpanContext(f.queue.appended()[0].Signal.Trace)
	require.True(t, carried.IsValid())
	require.False(t, carried.IsSampled())
	require.NotEqual(t, "0af7651916cd43dd8448eb211c80319c", carried.TraceID().String())
}
