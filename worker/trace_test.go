package worker_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// A sync is a span in the trace of its event that says what it is about, with its
// steps below it. An event whose entity the sync covers too has a span of its own.
// A trace that is not sampled has none.
func TestSpansOfASync(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	defer otel.SetTracerProvider(before)
	b := setup(t)
	own := b.traced("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "widget.sold", "widget", "w1")
	covered := b.traced("00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "widget.sold", "widget", "w1")
	unsampled := b.traced("00-2af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "widget.sold", "widget", "w2")
	stop := b.start("w1")
	for _, id := range []string{own, covered, unsampled} {
		b.row(id, storage.Processed)
	}
	b.empty()
	stop()

	byTrace := map[string][]tracetest.SpanStub{}
	for _, s := range spans.GetSpans() {
		id := s.SpanContext.TraceID().String()
		byTrace[id] = append(byTrace[id], s)
	}
	first := byTrace["0af7651916cd43dd8448eb211c80319c"]
	names := map[string]tracetest.SpanStub{}
	for _, s := range first {
		names[s.Name] = s
	}
	process := names["process"]
	for _, step := range []string{"lock", "claim", "write"} {
		require.Contains(t, names, step)
		require.Equal(t, process.SpanContext.SpanID(), names[step].Parent.SpanID(), step)
	}
	require.Equal(t, process.StartTime, names["lock"].StartTime, "taking the lock comes first")
	for _, call := range []string{"claim", "write"} {
		require.Equal(t, trace.SpanKindClient, names[call].SpanKind)
		require.Equal(t, []attribute.KeyValue{attribute.String("db.system.name", "other_sql"), attribute.String("db.operation.name", call)}, names[call].Attributes)
	}
	describes(t, process, own)
	second := byTrace["1af7651916cd43dd8448eb211c80319c"]
	require.Len(t, second, 1)
	describes(t, second[0], covered)
	require.Equal(t, process.SpanContext.SpanID(), second[0].Links[0].SpanContext.SpanID())
	require.Empty(t, byTrace["2af7651916cd43dd8448eb211c80319c"])
}

// describes wants a span about the event's sync of widget w1.
func describes(t *testing.T, s tracetest.SpanStub, event string) {
	t.Helper()
	require.Equal(t, "process", s.Name)
	require.Equal(t, trace.SpanKindConsumer, s.SpanKind)
	require.Equal(t, "b7ad6b7169203331", s.Parent.SpanID().String())
	got := map[attribute.Key]string{}
	for _, a := range s.Attributes {
		got[a.Key] = a.Value.String()
	}
	require.NotEmpty(t, got["messaging.message.id"])
	require.NotEmpty(t, got["messaging.destination.partition.id"])
	delete(got, "messaging.message.id")
	delete(got, "messaging.destination.partition.id")
	require.Equal(t, map[attribute.Key]string{
		"messaging.system": "redis", "messaging.operation.name": "process", "messaging.operation.type": "process",
		"messaging.destination.name": "acme/live", "messaging.client.id": "w1", "messaging.message.conversation_id": event,
		"tarn.cause": "event", "tarn.entity": "acme/widget/w1",
	}, got)
}

// A command is one trace below the span in which it was asked for: it is sent, and the sync
// that covers it fetches and writes.
func TestSpansOfACommand(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	before := otel.GetTracerProvider()
	otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans)))
	defer otel.SetTracerProvider(before)
	const command = "b7ad6b7169203331"
	s := openMarket(t, simulator.Stripe)
	wish := s.wish("product", "create", "~p", `{"name":"p"}`)
	wish.Trace = "00-3af7651916cd43dd8448eb211c80319c-" + command + "-01"
	c := s.admit(wish)
	stop := s.start("w1")
	s.done(c)
	stop()

	children := map[string][]tracetest.SpanStub{} // by the parent's id
	for _, span := range spans.GetSpans() {
		if span.SpanContext.TraceID().String() == "3af7651916cd43dd8448eb211c80319c" {
			of := span.Parent.SpanID().String()
			children[of] = append(children[of], span)
		}
	}
	names := func(of string) (all []string) {
		for _, span := range children[of] {
			all = append(all, span.Name)
		}
		slices.Sort(all)
		return all
	}
	require.Contains(t, names(command), "send product")
	synced := 0
	for _, span := range children[command] {
		switch span.Name {
		case "send product":
			require.Equal(t, trace.SpanKindClient, span.SpanKind)
		case "process": // another hint may have been on its way, for a sync of its own
			require.Equal(t, []string{"claim", "fetch product", "lock", "write"}, names(span.SpanContext.SpanID().String()))
			synced++
		default:
			require.Fail(t, "a span of another name", span.Name)
		}
	}
	require.Positive(t, synced)
}
