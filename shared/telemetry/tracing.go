package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Options are the settings of Start.
type Options struct {
	// Service and Version name the process in traces: "tarn-api", "1.2.0".
	Service, Version string
	// Endpoint is the OTLP/HTTP address of a collector or of Jaeger,
	// "http://127.0.0.1:4318"; without a path, /v1/traces is meant. Empty: no
	// tracing, and spans cost next to nothing.
	Endpoint string
	// SampleRatio is the share of new traces kept, above 0 and up to 1. A span
	// with a parent does as its parent did, so an event is traced all the way
	// or not at all. Defaults to 1. OTEL_TRACES_SAMPLER goes over it.
	SampleRatio float64
	// Environ is the environment of the process, as os.Environ returns it.
	Environ []string
	// Logger takes export failures, at most one a minute. Defaults to
	// slog.Default().
	Logger *slog.Logger
}

// queue is how many ended spans wait for export before new ones are dropped:
// about two seconds of a busy worker. Losing spans is better than holding up
// events.
const queue = 16_384

// Start sets the global tracer provider and the W3C propagator. The returned
// function sends what is still queued and must be called before the process
// ends. An unreachable collector is no error, here or later.
func Start(ctx context.Context, o Options) (shutdown func(context.Context) error, err error) {
	otel.SetTextMapPropagator(propagation.TraceContext{})
	if o.Endpoint == "" {
		otel.SetTracerProvider(noop.NewTracerProvider())
		return func(context.Context) error { return nil }, nil
	}
	endpoint, err := tracesURL(o.Endpoint)
	if err != nil {
		return nil, err
	}
	sampled, err := sampler(o.SampleRatio, o.Environ)
	if err != nil {
		return nil, err
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint))
	if err != nil {
		return nil, fmt.Errorf("start tracing to %s: %w", endpoint, err)
	}
	LogErrors(o.Logger)
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(queue), sdktrace.WithBatchTimeout(time.Second)),
		sdktrace.WithSampler(sampled), sdktrace.WithIDGenerator(drawnIDs{}),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", o.Service),
			attribute.String("service.version", o.Version),
		)),
	)
	otel.SetTracerProvider(&drawing{TracerProvider: provider, sampler: sampled})
	return provider.Shutdown, nil
}

// tracesURL completes the endpoint as the OTLP specification does for the
// general endpoint variable: the signal's path is appended to a bare address.
func tracesURL(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("tracing endpoint %q: want an OTLP/HTTP address such as http://127.0.0.1:4318", endpoint)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	return u.String(), nil
}
