package provider

import (
	"fmt"
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
			"http.response.status_code": "422", "error.type": "permanent",
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
			c.expected["tarn.kind"] = "order"
			require.Equal(t, c.expected, attributes(s))
			require.NotContains(t, fmt.Sprintf("%+v", s), "PRIVATE")
			require.NotContains(t, fmt.Sprintf("%+v", s), "key_1")
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
