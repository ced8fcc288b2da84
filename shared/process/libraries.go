package process

import (
	"log/slog"

	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// LogLibraries sends what libraries log to logger, for the whole process: a log
// of JSON lines must not hold lines of another form. It covers package log (used
// by net/http), the Redis client and OpenTelemetry. Gin says nothing in release
// mode, and the MongoDB driver nothing unless asked to.
func LogLibraries(logger *slog.Logger) {
	slog.SetDefault(logger) // package log follows it
	stream.LogClient(logger)
	telemetry.LogErrors(logger)
}
