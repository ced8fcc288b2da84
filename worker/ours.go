package worker

import (
	"context"
	"errors"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// ours reports whether the lease is surely still ours, and gives up the shard if not.
// It is called before every write to the store that has no claim.
func (s *shard) ours() bool {
	if s.lease.Valid() {
		return true
	}
	if s.ctx.Err() == nil {
		s.w.Metrics.LeasesLost.Inc()
		s.log.Warn("lost the lease: its time has run out")
	}
	s.cancel(stream.ErrFenced)
	return false
}

// lost reports whether err says that the shard is no longer ours, and if so gives it
// up.
func (s *shard) lost(err error) bool {
	if !errors.Is(err, stream.ErrFenced) {
		return false
	}
	if s.ctx.Err() == nil {
		s.w.Metrics.LeasesLost.Inc()
		s.log.Info("lost the lease to another worker")
	}
	s.cancel(stream.ErrFenced)
	return true
}

// redisPause is the pause after a call of Redis that failed.
const redisPause = 200 * time.Millisecond

// insist repeats a call of Redis, however long that is away. An error says why the
// shard is not ours any more, or is the cause of the end of ctx.
func (s *shard) insist(ctx context.Context, loop *telemetry.Loop, what string, do func() error) error {
	redis := loops.Retry{
		Server: "redis", Away: func(err error) bool { return !s.lost(err) }, Pause: redisPause, Logger: s.log,
		Count: func(what string) { s.w.Metrics.Unavailable.WithLabelValues(what).Inc() },
	}
	err := redis.Do(ctx, loops.Call{What: what, Health: loop}, do)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// isClosing reports whether the shard is being handed over.
func (s *shard) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// trouble makes the intake loop doubt what it knows of Redis.
func (s *shard) trouble() {
	s.troubled.Store(true)
	s.nudge()
}

// nudge makes an idle intake loop look again.
func (s *shard) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
