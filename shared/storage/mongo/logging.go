package mongo

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/telemetry"
)

// driverLog writes what the driver logs as lines of ours. The driver says nothing unless
// the environment asks it to, by MONGODB_LOG_ALL and the like, and by default it would
// write to standard error.
type driverLog struct {
	log    *slog.Logger
	rarely *telemetry.Rarely // of failures
}

// driverEvery is how often one kind of failure is logged.
const driverEvery = 10 * time.Second

func newDriverLog(log *slog.Logger) driverLog {
	return driverLog{log, telemetry.NewRarely(driverEvery, time.Now)}
}

// contents are the fields that hold documents, which no log is to have.
var contents = []string{"command", "reply", "failure"}

// Info logs what the driver does. It has two levels: 0 informs, 1 is for debugging.
func (d driverLog) Info(level int, message string, fields ...any) {
	to := slog.LevelInfo
	if level > 0 {
		to = slog.LevelDebug
	}
	d.log.Log(context.Background(), to, "the mongodb driver reports", append([]any{"text", message}, withoutContents(fields)...)...)
}

// Error logs a failure of the driver's own, which the call that meets it reports too: one
// in ten seconds of each kind, with the number of those left out, as "more".
func (d driverLog) Error(err error, message string, fields ...any) {
	more, ok := d.rarely.Say(message)
	if !ok {
		return
	}
	args := append([]any{"text", message, "error", err}, withoutContents(fields)...)
	if more > 0 {
		args = append(args, "more", more)
	}
	d.log.Warn("the mongodb driver reports", args...)
}

// withoutContents returns pairs of a name and a value, less those of documents, and
// less the message, which the driver gives once more.
func withoutContents(fields []any) []any {
	var kept []any
	for i := 0; i+1 < len(fields); i += 2 {
		if name, _ := fields[i].(string); name != "message" && !slices.Contains(contents, name) {
			kept = append(kept, fields[i], fields[i+1])
		}
	}
	return kept
}
