package provider

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// record collects the spans of a test.
func record(t *testing.T) *tracetest.SpanRecorder {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)))
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	return spans
}

func attributes(s sdktrace.ReadOnlySpan) map[string]string {
	out := map[string]string{}
	for _, a := range s.Attributes() {
		out[string(a.Key)] = a.Value.String()
	}
	return out
}

func TestFetchSpan(t *testing.T) {
	for name, c := range map[string]struct {
		status   int
		body     string
		code     codes.Code
		expected map[string]string
	}{
		"good": {200, order, codes.Unset, map[string]string{"http.response.status_code": "200"}},
		"bad": {422, `{"message":"PRIVATE"}`, codes.Error, map[string]string{
			"http.response.status_code": "422", "error.type": "422",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			spans := record(t)
			client := server(t, ClientOptions{}, answers(c.status, c.body))
			ctx, parent := otel.Tracer("test").Start(t.Context(), "process")
			_, _ = client.Fetch(ctx, orderRef, "webhook-evt_1")
			parent.End()

			require.Len(t, spans.Ended(), 2)
			s := spans.Ended()[0]
			require.Equal(t, "fetch order", s.Name())
			require.Equal(t, trace.SpanKindClient, s.SpanKind())
			require.Equal(t, parent.SpanContext().SpanID(), s.Parent().SpanID())
			require.Equal(t, c.code, s.Status().Code)
			c.expected["http.request.method"] = "GET"
			c.expected["server.address"] = "127.0.0.1"
			c.expected["server.port"] = client.base.Port()
			c.expected["url.full"] = client.address + "/accounts/cusa_1/orders/bord_1"
			c.expected["tarn.kind"] = "order"
			require.Equal(t, c.expected, attributes(s))
			require.NotContains(t, fmt.Sprintf("%+v", s), "PRIVATE")
			require.NotContains(t, fmt.Sprintf("%+v", s), "key_1")
		})
	}
}

// The span of a command says what came of it, and nothing of what was sent or answered.
func TestSendSpan(t *testing.T) {
	for name, c := range map[string]struct {
		status   int
		body     string
		code     codes.Code
		expected map[string]string
	}{
		"done": {200, `{"order":{"id":"ord_1"}}`, codes.Unset, map[string]string{"tarn.outcome": "answered", "http.response.status_code": "200"}},
		"refused": {422, `{"message":"PRIVATE"}`, codes.Error, map[string]string{
			"tarn.outcome": "dead", "http.response.status_code": "422", "error.type": "422",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			spans := record(t)
			s := httptest.NewServer(answers(c.status, c.body))
			t.Cleanup(s.Close)
			w := writerOf(t, ordered(t), s.URL+"/v1")
			sent(t, w, Command{Kind: "order", Op: "create", Ref: "r", Parents: inShop, Key: "cmd_1", Body: []byte(`{"amount":54321}`)})
			require.Len(t, spans.Ended(), 1)
			span := spans.Ended()[0]
			require.Equal(t, "send order", span.Name())
			require.Equal(t, trace.SpanKindClient, span.SpanKind())
			require.Equal(t, c.code, span.Status().Code)
			require.NotContains(t, span.Status().Description, " ", "the class, and not the text of an error")
			c.expected["http.request.method"] = "POST"
			c.expected["server.address"] = "127.0.0.1"
			c.expected["server.port"] = w.client.base.Port()
			c.expected["tarn.kind"], c.expected["tarn.op"] = "order", "create"
			require.Equal(t, c.expected, attributes(span))
			for _, private := range []string{"PRIVATE", "54321", "write-key", "cmd_1"} {
				require.NotContains(t, fmt.Sprintf("%+v", span), private)
			}
		})
	}
}

func TestEveryPageHasItsSpan(t *testing.T) {
	spans := record(t)
	client := server(t, ClientOptions{}, pages(map[string]string{
		"limit=100": `{"data":[],"pagination":{"next_cursor":"SECRET"}}`, "cursor=SECRET": `{"data":[]}`,
	}))
	_, err := client.Fetch(t.Context(), positionsRef, "x")
	require.NoError(t, err)
	require.Len(t, spans.Ended(), 2)
	require.NotContains(t, fmt.Sprintf("%+v", spans.Ended()[1]), "SECRET")
}
