package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/shared/telemetry/otlptest"
)

func start(t *testing.T, o telemetry.Options) func() {
	t.Helper()
	shutdown, err := telemetry.Start(t.Context(), o)
	require.NoError(t, err)
	return func() { require.NoError(t, shutdown(context.Background())) }
}

// The way of a traceparent: out of one process, through a stream, into another.
func TestOneTreeAcrossProcesses(t *testing.T) {
	collector := otlptest.Start()
	defer collector.Close()
	flush := start(t, telemetry.Options{Service: "tarn-api", Version: "1", Endpoint: collector.URL()})

	tracer := otel.Tracer("test")
	ctx, webhook := tracer.Start(t.Context(), "webhook", trace.WithSpanKind(trace.SpanKindServer))
	ctx, send := tracer.Start(ctx, "send", trace.WithSpanKind(trace.SpanKindProducer))
	carried := telemetry.Traceparent(ctx)
	send.End()
	webhook.End()

	ctx, process := tracer.Start(telemetry.Remote(t.Context(), carried), "process", trace.WithSpanKind(trace.SpanKindConsumer))
	_, fetch := tracer.Start(ctx, "fetch", trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attribute.Int("status", 200)))
	fetch.End()
	process.End()
	_, retry := tracer.Start(t.Context(), "process", trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: telemetry.SpanContext(carried)}))
	retry.End()
	flush()

	require.Empty(t, collector.Faults())
	traces := collector.Traces()
	require.Len(t, traces, 2)
	require.Equal(t, "webhook\n  send\n    process\n      fetch\n", traces[0].Tree())
	require.Equal(t, 1, traces[0].Roots())
	require.Equal(t, telemetry.TraceID(carried), traces[0].ID)
	require.Equal(t, traces[0].ID, traces[1].Spans[0].Links[0].TraceID)
	require.Equal(t, "tarn-api", traces[0].Spans[0].Service)
	require.Equal(t, "server", traces[0].Spans[0].Kind)
	require.Contains(t, collector.Text(), "fetch")
}

func TestTracingOff(t *testing.T) {
	defer start(t, telemetry.Options{})()
	ctx, span := otel.Tracer("test").Start(t.Context(), "webhook")
	defer span.End()
	require.False(t, span.IsRecording())
	require.Empty(t, telemetry.Traceparent(ctx))
	require.IsType(t, propagation.TraceContext{}, otel.GetTextMapPropagator())
	allocs := testing.AllocsPerRun(100, func() { telemetry.Traceparent(ctx) })
	require.Zero(t, allocs)
}

func TestStartRefusesEndpoint(t *testing.T) {
	for name, endpoint := range map[string]string{
		"no scheme": "127.0.0.1:4318", "grpc": "grpc://127.0.0.1:4317", "no host": "http://", "not a url": "http://[::1",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := telemetry.Start(t.Context(), telemetry.Options{Endpoint: endpoint})
			require.ErrorContains(t, err, "want an OTLP/HTTP address")
		})
	}
}

// A collector that is away costs one line a minute and nothing else.
func TestCollectorAway(t *testing.T) {
	var log bytes.Buffer
	collector := otlptest.Start()
	url := collector.URL()
	collector.Close()
	shutdown, err := telemetry.Start(t.Context(), telemetry.Options{Endpoint: url, Logger: telemetry.NewLogger(&log, slog.LevelInfo, telemetry.JSON)})
	require.NoError(t, err)
	_, span := otel.Tracer("test").Start(t.Context(), "webhook")
	span.End()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_ = shutdown(ctx) // it fails or not by how far the retries got
	otel.Handle(context.DeadlineExceeded)
	otel.Handle(context.DeadlineExceeded)
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("traces are not being exported")))
}

const example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" // of the W3C recommendation

func TestTraceparent(t *testing.T) {
	ctx := telemetry.Remote(t.Context(), example)
	require.Equal(t, example, telemetry.Traceparent(ctx))
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", telemetry.TraceID(example))
	require.True(t, telemetry.SpanContext(example).IsRemote())
	require.True(t, telemetry.SpanContext(example).IsSampled())

	for name, bad := range map[string]string{
		"empty":           "",
		"zero trace":      "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"zero span":       "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
		"capitals":        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
		"capital flags":   "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0A",
		"another version": "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"too long":        example + "-00",
		"no hex":          "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-zz",
	} {
		t.Run(name, func(t *testing.T) {
			require.False(t, telemetry.SpanContext(bad).IsValid())
			require.Empty(t, telemetry.TraceID(bad))
			require.Equal(t, t.Context(), telemetry.Remote(t.Context(), bad))
		})
	}
}

// The propagator of OpenTelemetry is the oracle for version 00.
func FuzzTraceparent(f *testing.F) {
	f.Add(example)
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff")
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0")
	f.Fuzz(func(t *testing.T, text string) {
		got := telemetry.SpanContext(text)
		ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": text})
		want := trace.SpanContextFromContext(ctx)
		if !want.IsValid() || len(text) != len(example) || text[:3] != "00-" {
			return // it takes other versions, and refuses flags that are yet to be given a meaning
		}
		if got.TraceID() != want.TraceID() || got.SpanID() != want.SpanID() || got.IsSampled() != want.IsSampled() {
			t.Fatalf("%q: got %v, the propagator %v", text, got, want)
		}
	})
}

func TestLoggerNamesTrace(t *testing.T) {
	var out bytes.Buffer
	log := telemetry.NewLogger(&out, slog.LevelInfo, telemetry.JSON).With("source", "lemon").WithGroup("g")
	log.DebugContext(t.Context(), "hidden")
	log.InfoContext(telemetry.Remote(t.Context(), example), "seen", "at", time.Date(2026, 7, 1, 12, 0, 0, 0, time.FixedZone("CEST", 7200)))
	var line struct {
		Msg    string    `json:"msg"`
		Source string    `json:"source"`
		Time   time.Time `json:"time"`
		G      struct {
			At      string `json:"at"`
			TraceID string `json:"trace_id"`
		} `json:"g"`
	}
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	require.Equal(t, "seen", line.Msg)
	require.Equal(t, "lemon", line.Source)
	require.Equal(t, "4bf92f3577b34da6a3ce929d0e0e4736", line.G.TraceID)
	require.Equal(t, "2026-07-01T10:00:00Z", line.G.At)
	require.Equal(t, time.UTC, line.Time.Location())
}
