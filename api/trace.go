package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Options of the spans that are the same for every request, made once.
var (
	webhookSpan = []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithNewRoot(),
	}
	sendSpan = []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindProducer),
		// Names of the OpenTelemetry messaging conventions, 1.44.
		trace.WithAttributes(
			attribute.String("messaging.system", "redis"),
			attribute.String("messaging.operation.name", "send"),
			attribute.String("messaging.operation.type", "send"),
		),
	}
)

// startWebhook begins the trace of one webhook. It does not continue the caller's trace:
// the endpoint is public, and a caller must choose neither trace ids nor sampling here.
// The caller's span is linked instead.
func (r *receiver) startWebhook(req *http.Request, source string) (context.Context, trace.Span) {
	opts := webhookSpan
	if caller := telemetry.SpanContext(req.Header.Get("Traceparent")); caller.IsValid() {
		opts = append(slices.Clip(opts), trace.WithLinks(trace.Link{SpanContext: caller}))
	}
	ctx, span := r.tracer.Start(req.Context(), "webhook", opts...)
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("http.request.method", http.MethodPost),
			attribute.String("http.route", webhookRoute),
			attribute.String("tarn.source", source),
		)
	}
	return ctx, span
}

// endWebhook ends the span with the status of the answer.
func endWebhook(span trace.Span, status int) {
	if span.IsRecording() {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
	}
	span.End()
}

// startSend begins the span whose context travels in the stream entry. With
// tracing off there is none to make, and none is made.
func (r *receiver) startSend(ctx context.Context, e *event.Event) (context.Context, trace.Span) {
	if webhook := trace.SpanFromContext(ctx); !webhook.SpanContext().IsValid() {
		return ctx, webhook
	}
	ctx, span := r.tracer.Start(ctx, "send", sendSpan...)
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("messaging.message.conversation_id", e.ID),
			attribute.String("tarn.event.type", e.Type),
		)
	}
	return ctx, span
}

// endSend ends the span with the id of the entry.
func endSend(span trace.Span, got stream.Receipt, err error) {
	if span.IsRecording() {
		if err != nil {
			span.SetStatus(codes.Error, "not confirmed")
		} else {
			span.SetAttributes(
				attribute.String("messaging.destination.partition.id", strconv.Itoa(got.Shard)),
				attribute.String("messaging.message.id", got.ID),
				attribute.Bool("tarn.duplicate", got.Duplicate),
			)
		}
	}
	span.End()
}
