package telemetry

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// drawing is a provider of tracers that asks the sampler about a trace before it makes the
// first span of it. Where one trace in a hundred is kept, the other ninety-nine cost a
// random number; the SDK makes a span first, of which nothing is kept.
//
// All traces that are not kept share one span context, untraced. It is not sampled, so a
// span with it as its parent is not kept either, in this process or in the next.
type drawing struct {
	*sdktrace.TracerProvider

	sampler sdktrace.Sampler
	tracers sync.Map // by name
}

// untraced is the span context of traces that are not kept: all its bits are set but the
// flags, of which none is.
var untraced = trace.NewSpanContext(trace.SpanContextConfig{
	TraceID: trace.TraceID([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
	SpanID:  trace.SpanID([]byte("\xff\xff\xff\xff\xff\xff\xff\xff")),
})

// untracedParent is the traceparent of untraced.
const untracedParent = "00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-00"

// untracedSpan is the span of traces that are not kept.
var untracedSpan = trace.SpanFromContext(trace.ContextWithSpanContext(context.Background(), untraced))

// Tracer returns the tracer of a name.
func (d *drawing) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	if known, ok := d.tracers.Load(name); ok && len(opts) == 0 {
		return known.(trace.Tracer)
	}
	made := &drawnTracer{Tracer: d.TracerProvider.Tracer(name, opts...), sampler: d.sampler}
	if len(opts) == 0 {
		d.tracers.Store(name, made)
	}
	return made
}

// drawnTracer is a tracer of drawing.
type drawnTracer struct {
	trace.Tracer

	sampler sdktrace.Sampler
}

// Start begins a span, of a trace that is kept or that another span began.
func (t *drawnTracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if parent := trace.SpanContextFromContext(ctx); parent.IsValid() {
		if config := trace.NewSpanStartConfig(opts...); !config.NewRoot() {
			return t.Tracer.Start(ctx, name, opts...)
		}
	}
	id := newTraceID()
	draw := t.sampler.ShouldSample(sdktrace.SamplingParameters{ParentContext: context.Background(), TraceID: id, Name: name})
	if draw.Decision == sdktrace.Drop {
		return trace.ContextWithSpan(ctx, untracedSpan), untracedSpan
	}
	return t.Tracer.Start(context.WithValue(ctx, drawnID{}, id), name, opts...)
}

// drawnID is the key of the id of a trace that is kept, in the context of its first span.
type drawnID struct{}

// drawnIDs gives the first span of a trace the id with which the sampler kept it, so that
// the SDK, which asks the sampler again, gets the same answer.
type drawnIDs struct{}

// NewIDs returns the ids of the first span of a trace.
func (g drawnIDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	id, ok := ctx.Value(drawnID{}).(trace.TraceID)
	if !ok {
		id = newTraceID()
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID returns the id of a span.
func (drawnIDs) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

func newTraceID() (id trace.TraceID) {
	for !id.IsValid() || id == untraced.TraceID() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}
