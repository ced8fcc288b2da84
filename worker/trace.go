package worker

import (
	"context"
	"strconv"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/worker/entity"
)

// most is how many links a span gets.
const most = 32

func tracer() trace.Tracer { return otel.Tracer("github.com/tarn-sync/tarn/worker") }

// syncTrace is the trace of one sync: a "process" span with its steps as
// children. A first attempt is in the trace of the batch's first event, so
// that one tree shows webhook, queue and sync; a retry, minutes or hours
// later, is a root of its own, linked to the events it is for.
type syncTrace struct {
	ctx              context.Context // of its steps
	span             trace.Span
	lockFrom, lockTo time.Time
}

// startSpan begins the sync's span and returns its context.
func (r *run) startSpan(ctx context.Context, e entity.Claim) context.Context {
	opts := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(r.trace.lockFrom)}
	if e.Again {
		opts = append(opts, trace.WithNewRoot())
		for _, entry := range e.Batch[:min(len(e.Batch), most)] {
			if sc := telemetry.SpanContext(entry.Signal.Trace); sc.IsValid() {
				opts = append(opts, trace.WithLinks(trace.Link{SpanContext: sc}))
			}
		}
	} else {
		ctx = telemetry.Remote(ctx, e.Batch[0].Signal.Trace)
	}
	ctx, r.trace.span = tracer().Start(ctx, "process", opts...)
	if r.trace.span.IsRecording() {
		describeProcess(r.trace.span, &e.Batch[0], r.s, r.lane.Key)
		_, lock := tracer().Start(ctx, "lock", trace.WithTimestamp(r.trace.lockFrom))
		lock.End(trace.WithTimestamp(r.trace.lockTo))
	}
	return ctx
}

// describeProcess sets the attributes of a "process" span that is recorded.
func describeProcess(span trace.Span, e *event.Entry, s *shard, k event.Key) {
	span.SetAttributes(
		attribute.String("messaging.system", "redis"),
		attribute.String("messaging.operation.name", "process"),
		attribute.String("messaging.operation.type", "process"),
		attribute.String("messaging.destination.name", k.Source+"/"+string(e.Signal.Class.Tier())),
		attribute.String("messaging.destination.partition.id", strconv.Itoa(s.number)),
		attribute.String("messaging.client.id", s.w.ID),
		attribute.String("messaging.message.id", e.ID),
		attribute.String("messaging.message.conversation_id", e.Signal.CauseID),
		attribute.String("tarn.cause", string(e.Signal.Cause)),
		attribute.String("tarn.entity", k.String()),
	)
}

// calling are the options of a span of a call of the store.
var calling = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}

// step begins a child span for a call of the store; the function ends it.
func (r *run) step(call string) (context.Context, func(error)) {
	ctx, span := tracer().Start(r.trace.ctx, call, calling...)
	if span.IsRecording() {
		// Names of the OpenTelemetry semantic conventions for databases, 1.43.
		span.SetAttributes(
			attribute.String("db.system.name", r.s.w.StoreSystem),
			attribute.String("db.operation.name", call),
		)
	}
	return ctx, func(err error) { endSpan(span, err) }
}

// covered gives every event among the entries but the very first, whose trace the
// sync is in, a span of its own that links to the fetch that covered it. Not after
// a failed attempt: that sync is in no event's trace and links to all.
func (t *syncTrace) covered(s *shard, e entity.Settle) {
	if t.span == nil || e.Again {
		return
	}
	for i, entry := range e.Batch {
		if e.First && i == 0 || !telemetry.SpanContext(entry.Signal.Trace).IsSampled() {
			continue
		}
		_, span := tracer().Start(telemetry.Remote(s.ctx, entry.Signal.Trace), "process",
			trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(trace.Link{SpanContext: t.span.SpanContext()}))
		if span.IsRecording() {
			describeProcess(span, &entry, s, e.Key)
		}
		span.End()
	}
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

func traceID(e event.Entry) string { return telemetry.TraceID(e.Signal.Trace) }
