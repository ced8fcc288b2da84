package telemetry

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// NewLogger returns a logger that writes one JSON object a line to w, times in
// UTC, and adds trace_id and span_id of the span in the context of a call. A
// time that is not set is left out, and a word that an error begins with twice
// is there once.
func NewLogger(w io.Writer, level slog.Leveler) *slog.Logger {
	json := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: plain})
	return slog.New(traced{json})
}

// plain makes every time UTC, so that lines of machines in several zones sort,
// and leaves out one that is none: 0001-01-01 does not read as "without end".
func plain(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindTime:
		if a.Value.Time().IsZero() {
			return slog.Attr{}
		}
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(once(err.Error()))
		}
	}
	return a
}

// once takes out what a text says twice in a row, as "redis: redis: nil" does
// where our word for a thing meets that of a library.
func once(text string) string {
	parts := strings.Split(text, ": ")
	return strings.Join(slices.Compact(parts), ": ")
}

// traced adds the ids of the span in the context to each record.
type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traced{h.Handler.WithAttrs(attrs)}
}

func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }
