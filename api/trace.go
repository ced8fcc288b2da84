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
	"github.com/tarn-sync/tarn/shared/fate"
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
		// Names of the OpenTelemetry semantic conventions for messaging, 1.43.
		trace.WithAttributes(
			attribute.String("messaging.system", "redis"),
			attribute.String("messaging.operation.name", "send"),
			attribute.String("messaging.operation.type", "send"),
		),
	}
)

// startWebhook begins the trace of one webhook. It does not continue the caller's trace:
// the endpoint is public, and a caller must choose neither trace ids nor sampling here.
// The caller's span is linked instead. The secret of a path is not in the span.
func (r *receiver) startWebhook(req *http.Request, source string, secret bool) (context.Context, trace.Span) {
	opts := webhookSpan
	if caller := telemetry.SpanContext(req.Header.Get("Traceparent")); caller.IsValid() {
		opts = append(slices.Clip(opts), trace.WithLinks(trace.Link{SpanContext: caller}))
	}
	ctx, span := r.tracer.Start(req.Context(), "webhook", opts...)
	if span.IsRecording() {
		route, path := webhookRoute, "/webhooks/"+source
		if secret {
			route, path = secretWebhookRoute, path+"/REDACTED"
		}
		span.SetAttributes(
			attribute.String("http.request.method", http.MethodPost),
			attribute.String("http.route", route),
			attribute.String("url.path", path),
			attribute.String("url.scheme", "http"),
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
			span.SetAttributes(attribute.String("error.type", strconv.Itoa(status)))
			span.SetStatus(codes.Error, "")
		}
	}
	span.End()
}

// startSend begins the span whose context travels in the stream entry. Of a webhook that
// is not traced it makes none: most are not, and then the context of the webhook travels,
// so that workers do not trace the event either.
func (r *receiver) startSend(ctx context.Context, e *event.Event) (context.Context, trace.Span) {
	if webhook := trace.SpanFromContext(ctx); !webhook.IsRecording() {
		return ctx, webhook
	}
	ctx, span := r.tracer.Start(ctx, "send", sendSpan...)
	if span.IsRecording() {
		span.SetAttributes(
			attribute.String("messaging.destination.name", e.Source+"/"+string(event.TierLive)),
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
			class, _ := fate.Of(err)
			span.SetAttributes(attribute.String("error.type", class.String()))
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
