package telemetry

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
)

// LogErrors sends what OpenTelemetry reports to logger, for the whole process.
// By default it writes to standard error.
func LogErrors(logger *slog.Logger) {
	if logger == nil {
		logger = slog.Default()
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(quietly(logger, time.Now)))
	otel.SetLogger(logr.FromSlogHandler(reports{logger.Handler()}))
}

// quietly logs export failures at most once a minute: a collector that is away
// must not fill the log.
func quietly(logger *slog.Logger, now func() time.Time) func(error) {
	var last atomic.Int64
	return func(err error) {
		t := now().Unix()
		if prev := last.Load(); t-prev >= 60 && last.CompareAndSwap(prev, t) {
			logger.Warn("traces are not being exported", "error", err)
		}
	}
}

// reports writes what OpenTelemetry logs as lines of ours. Its levels are verbosities
// of package logr, which come here as negative levels: 1 is a warning, and 4 and 8 tell
// what it does, which needs no person.
type reports struct{ slog.Handler }

func ourLevel(l slog.Level) slog.Level {
	switch {
	case l >= slog.LevelError:
		return slog.LevelError
	case l >= -1:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (h reports) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, ourLevel(l))
}

func (h reports) Handle(ctx context.Context, r slog.Record) error {
	line := slog.NewRecord(r.Time, ourLevel(r.Level), "opentelemetry reports", r.PC)
	line.AddAttrs(slog.String("text", r.Message))
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			a.Key = "error"
		}
		line.AddAttrs(a)
		return true
	})
	return h.Handler.Handle(ctx, line)
}

func (h reports) WithAttrs(attrs []slog.Attr) slog.Handler {
	return reports{h.Handler.WithAttrs(attrs)}
}

func (h reports) WithGroup(name string) slog.Handler { return reports{h.Handler.WithGroup(name)} }
