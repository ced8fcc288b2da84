package worker

import (
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// most is how many links a span gets.
const most = 32

func tracer() trace.Tracer { return otel.Tracer("github.com/tarn-sync/tarn/worker") }

// syncTrace is the trace of one sync: a "process" span with its steps as
// children. A first attempt is in the trace of the batch's first event, so
// that one tree shows webhook, queue and sync; a retry, minutes or hours
// later, is a root of its own, linked to the events it is for.
type syncTrace struct {
	span             trace.Span
	lockFrom, lockTo time.Time
}

// startSpan begins the sync's span and returns its context.
func (a *attempt) startSpan(ctx context.Context) context.Context {
	opts := processOptions(a.batch[0], a.s, a.ln)
	if tried(a.parked) {
		opts = append(opts, trace.WithNewRoot())
		for _, e := range a.batch[:min(len(a.batch), most)] {
			if sc := telemetry.SpanContext(e.Signal.Trace); sc.IsValid() {
				opts = append(opts, trace.WithLinks(trace.Link{SpanContext: sc}))
			}
		}
	} else {
		ctx = telemetry.Remote(ctx, a.batch[0].Signal.Trace)
	}
	opts = append(opts, trace.WithTimestamp(a.trace.lockFrom))
	ctx, a.trace.span = tracer().Start(ctx, "process", opts...)
	_, lock := tracer().Start(ctx, "lock", trace.WithTimestamp(a.trace.lockFrom))
	lock.End(trace.WithTimestamp(a.trace.lockTo))
	return ctx
}

func processOptions(e stream.Entry, s *shard, ln *lane) []trace.SpanStartOption {
	return []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			attribute.String("messaging.system", "redis"),
			attribute.String("messaging.operation.name", "process"),
			attribute.String("messaging.operation.type", "process"),
			attribute.String("messaging.destination.partition.id", strconv.Itoa(s.number)),
			attribute.String("messaging.client.id", s.w.ID),
			attribute.String("messaging.message.id", e.ID),
			attribute.String("messaging.message.conversation_id", e.Signal.CauseID),
			attribute.String("tarn.cause", string(e.Signal.Cause)),
			attribute.String("tarn.entity", ln.key.String()),
		),
	}
}

// step begins a child span; the function ends it.
func (a *attempt) step(ctx context.Context, name string) (context.Context, func(error)) {
	ctx, span := tracer().Start(ctx, name)
	return ctx, func(err error) { endSpan(span, err) }
}

// covered adds the span of an event that another event's sync covered.
func (t *syncTrace) covered(e stream.Entry, s *shard, ln *lane) {
	if t.span == nil {
		return
	}
	opts := append(processOptions(e, s, ln), trace.WithLinks(trace.Link{SpanContext: t.span.SpanContext()}))
	_, span := tracer().Start(telemetry.Remote(s.ctx, e.Signal.Trace), "process", opts...)
	span.End()
}

// end ends the sync's span, if one was begun.
func (t *syncTrace) end(err error) {
	if t.span != nil {
		endSpan(t.span, err)
		t.span = nil
	}
}

func endSpan(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		class, _ := fate.Of(err)
		span.SetAttributes(attribute.String("error.type", class.String()))
		span.SetStatus(codes.Error, class.String()) // the text may hold what a span must not
	}
	span.End()
}
