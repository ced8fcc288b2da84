package process

import (
	"log/slog"

	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// LogLibraries sends what libraries log to logger, for the whole process: a log
// of JSON lines must not hold lines of another form. It covers package log, the Redis
// client and OpenTelemetry. The MongoDB driver and servers of HTTP have the logger of
// their owners, and Gin says nothing in release mode.
func LogLibraries(logger *slog.Logger) {
	slog.SetDefault(logger) // package log follows it
	stream.LogClient(logger)
	telemetry.LogErrors(logger)
}
