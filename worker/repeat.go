package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// storeRetry repeats calls of the store while it is away.
func storeRetry(o Options, log *slog.Logger) loops.Retry {
	return loops.Retry{
		Server: "store", Away: storage.IsAway, TimedOut: storage.IsTimeout, Logger: log,
		Count: o.Metrics.CountHeld, Hold: o.Metrics.Hold,
		Alert: func(source, reason string) {
			o.Alerts.Raise(alert.Alert{Kind: alert.StoreSlow, Source: source, Reason: reason})
		},
	}
}

// persist runs do until it succeeds, fails though database and Redis answer, or ctx
// ends. Nothing is parked or charged for it.
func (w *Worker) persist(ctx context.Context, loop *telemetry.Loop, what string, do func() error) error {
	return w.storeRetry.Do(ctx, loops.Call{What: what, Health: loop}, do)
}

// redisPause is the pause after a call of Redis that failed.
const redisPause = 200 * time.Millisecond

// insist repeats a call of Redis, however long that is away. An error says why the
// shard is not ours any more, or is the cause of the end of ctx.
func (s *shard) insist(ctx context.Context, loop *telemetry.Loop, what string, do func() error) error {
	redis := loops.Retry{
		Server: "redis", Away: func(err error) bool { return !s.lost(err) }, Pause: redisPause, Logger: s.common,
		Count: s.w.Metrics.CountHeld, Hold: s.w.Metrics.Hold,
	}
	err := redis.Do(ctx, loops.Call{What: what, Health: loop}, do)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
