package worker

import (
	"errors"

	"github.com/tarn-sync/tarn/shared/stream"
)

// ours reports whether the lease is surely still ours, and gives up the shard if not.
// It is called before every write to the store that has no claim.
func (s *shard) ours() bool {
	if s.lease.Valid() {
		return true
	}
	if s.ctx.Err() == nil {
		s.w.Metrics.LeasesLost.Inc()
		s.common.Info("lost the lease, whose time has run out")
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
		s.common.Info("lost the lease to another worker")
	}
	s.cancel(stream.ErrFenced)
	return true
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
