package telemetry

import (
	"context"
	"io"
	"log"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// The formats of a log: an object of JSON a line, or key=value pairs a line.
const (
	JSON = "json"
	Text = "text"
)

// NewLogger returns a logger that writes one line a record to w, in the given format,
// with times in UTC. It adds trace_id and span_id of the span in the context of a call,
// if its trace is kept.
//
// Every line is plain: what is not set is left out, a time as well as a text, and a
// word that an error begins with twice is there once.
func NewLogger(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: plain}
	if format == Text {
		return slog.New(traced{slog.NewTextHandler(w, options)})
	}
	return slog.New(traced{slog.NewJSONHandler(w, options)})
}

// plain makes every time UTC, so that lines of machines in several zones sort,
// and leaves out one that is none: 0001-01-01 does not read as "without end". It
// leaves out empty texts too: an error of no source has none.
func plain(groups []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindTime:
		if a.Value.Time().IsZero() {
			return slog.Attr{}
		}
		a.Value = slog.TimeValue(a.Value.Time().UTC())
	case slog.KindString:
		text := a.Value.String()
		if text == "" && len(groups) == 0 && a.Key != slog.MessageKey {
			return slog.Attr{}
		}
		if a.Key == "error" || a.Key == "reason" {
			a.Value = slog.StringValue(once(text))
		}
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
	if !strings.Contains(text, ": ") {
		return text
	}
	return strings.Join(slices.Compact(strings.Split(text, ": ")), ": ")
}

// traced adds the ids of the span in the context to each record, if its trace is kept.
type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if sc := trace.SpanContextFromContext(ctx); sc.IsSampled() {
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler {
	return traced{h.Handler.WithAttrs(attrs)}
}

func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }

// ServerLog is the ErrorLog of an http.Server that reports to logger. What the server
// reports is mostly of clients, such as a TLS handshake that they broke off, and needs
// no person. A panic of a handler does: that is an error. So is that no connection can be
// accepted, for want of file descriptors: the server says it once a second.
func ServerLog(logger *slog.Logger) *log.Logger {
	return log.New(serverLog{logger, NewRarely(acceptEvery, time.Now)}, "", 0)
}

// acceptEvery is how often it is logged that no connection can be accepted.
const acceptEvery = 10 * time.Second

type serverLog struct {
	logger  *slog.Logger
	accepts *Rarely
}

// Write logs one report, of which the lines after the first are a stack.
func (s serverLog) Write(report []byte) (int, error) {
	text, stack, _ := strings.Cut(strings.TrimSuffix(string(report), "\n"), "\n")
	text = strings.TrimPrefix(text, "http: ")
	level := slog.LevelInfo
	switch {
	case strings.HasPrefix(text, "panic serving "):
		level = slog.LevelError
	case strings.HasPrefix(text, "Accept error: "):
		if _, due := s.accepts.Say(""); !due {
			return len(report), nil
		}
		level = slog.LevelError
	}
	s.logger.Log(context.Background(), level, "the http server reports", "text", text, "stack", stack)
	return len(report), nil
}
