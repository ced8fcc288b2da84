package telemetry

import (
	"context"
	"encoding/hex"

	"go.opentelemetry.io/otel/trace"
)

// Layout of a version 00 traceparent: 00-<32 hex>-<16 hex>-<2 hex>
// (https://www.w3.org/TR/trace-context/#traceparent-header).
const (
	traceAt        = 3
	spanAt         = traceAt + 32 + 1
	flagsAt        = spanAt + 16 + 1
	traceparentLen = flagsAt + 2
)

// Traceparent returns the W3C form of the span in ctx, or "" without one.
func Traceparent(ctx context.Context) string {
	sc := trace.SpanContextFromContext(ctx)
	switch {
	case !sc.IsValid():
		return ""
	case sc.TraceID() == untraced.TraceID():
		return untracedParent
	}
	var b [traceparentLen]byte
	copy(b[:], "00-")
	tid, sid := sc.TraceID(), sc.SpanID()
	hex.Encode(b[traceAt:], tid[:])
	b[spanAt-1] = '-'
	hex.Encode(b[spanAt:], sid[:])
	b[flagsAt-1] = '-'
	// Only the sampled bit is passed on: the others are not ours to promise.
	hex.Encode(b[flagsAt:], []byte{byte(sc.TraceFlags() & trace.FlagsSampled)})
	return string(b[:])
}

// SpanContext reads a traceparent, for links. The answer is marked remote. It
// is invalid (IsValid false) if the text is not a traceparent.
func SpanContext(traceparent string) trace.SpanContext {
	if len(traceparent) != traceparentLen || traceparent[:traceAt] != "00-" ||
		traceparent[spanAt-1] != '-' || traceparent[flagsAt-1] != '-' {
		return trace.SpanContext{}
	}
	tid, err := trace.TraceIDFromHex(traceparent[traceAt : spanAt-1])
	if err != nil {
		return trace.SpanContext{}
	}
	sid, err := trace.SpanIDFromHex(traceparent[spanAt : flagsAt-1])
	if err != nil {
		return trace.SpanContext{}
	}
	flags, ok := lowerHexByte(traceparent[flagsAt:])
	if !ok {
		return trace.SpanContext{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: tid, SpanID: sid, TraceFlags: trace.TraceFlags(flags) & trace.FlagsSampled, Remote: true,
	})
}

// Remote returns ctx with the span the traceparent names as the parent of the
// next one. Text that is not a traceparent leaves ctx as it is.
func Remote(ctx context.Context, traceparent string) context.Context {
	if sc := SpanContext(traceparent); sc.IsValid() {
		return trace.ContextWithRemoteSpanContext(ctx, sc)
	}
	return ctx
}

// TraceID returns the trace id in a traceparent, or "". A trace that is not kept has none:
// where traces are shown there is nothing to find by it.
func TraceID(traceparent string) string {
	if SpanContext(traceparent).IsSampled() {
		return traceparent[traceAt : spanAt-1]
	}
	return ""
}

// lowerHexByte reads two lower-case hex digits; the specification forbids
// capitals, which hex.Decode would take.
func lowerHexByte(s string) (byte, bool) {
	for _, c := range []byte(s) {
		if c >= 'A' && c <= 'F' {
			return 0, false
		}
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 1 {
		return 0, false
	}
	return b[0], true
}
