package stream

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/telemetry"
)

// clientEvery is how often one kind of message of the client's is logged. While a server
// is away, the client says so for each connection that a command asks for.
const clientEvery = 10 * time.Second

// LogClient sends what the Redis client logs to logger, for the whole process: of each
// kind of message one line in ten seconds, with the number of those left out since the
// one before it, as "more". The client has one logger for all connections and writes to
// standard error by default.
func LogClient(logger *slog.Logger) {
	redis.SetLogger(clientLog{logger, telemetry.NewRarely(clientEvery, time.Now)})
}

type clientLog struct {
	*slog.Logger
	rarely *telemetry.Rarely
}

// Printf logs a line of the client's. It has no levels of its own, and what it says is
// mostly about connections that fail, which those who need the connection report too.
func (l clientLog) Printf(ctx context.Context, format string, v ...any) {
	more, ok := l.rarely.Say(format)
	if !ok {
		return
	}
	args := []any{"text", fmt.Sprintf(format, v...)}
	if more > 0 {
		args = append(args, "more", more)
	}
	l.InfoContext(ctx, "the redis client reports", args...)
}
