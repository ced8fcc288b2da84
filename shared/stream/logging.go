package stream

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"
)

// LogClient sends what the Redis client logs to logger, for the whole process.
// The client has one logger for all connections and writes to standard error by
// default.
func LogClient(logger *slog.Logger) { redis.SetLogger(clientLog{logger}) }

type clientLog struct{ *slog.Logger }

// Printf logs a line of the client's. It has no levels of its own, and what it says is
// mostly about connections that fail, which those who need the connection report too.
func (l clientLog) Printf(ctx context.Context, format string, v ...any) {
	l.InfoContext(ctx, "the redis client reports", "text", fmt.Sprintf(format, v...))
}
