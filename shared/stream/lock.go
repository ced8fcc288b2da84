package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/go-redsync/redsync/v4"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
)

// unlockWithin bounds the unlocking, which must happen though the work was
// cancelled.
const unlockWithin = time.Second

// Lock takes the entity's lock (Redsync), waiting at most one expiry (the
// lease TTL) for another to let go. The lock keeps two workers from fetching
// the same entity at once. Correctness does not depend on it, so after an error, or if
// the lock stays taken, ok is false and the caller goes on. unlock is never nil.
func (s *Streams) Lock(ctx context.Context, k event.Key) (unlock func(), ok bool) {
	name := s.keys.lock(k.Shard(s.opts.Shards), k.String())
	// One try a call: the library's own retries do not tell "taken" from
	// "cancelled".
	m := s.locks.NewMutex(name, redsync.WithExpiry(s.opts.LeaseTTL), redsync.WithTries(1))
	deadline := time.Now().Add(s.opts.LeaseTTL)
	for first := true; ; first = false {
		err := m.TryLockContext(ctx)
		if err == nil {
			return func() { release(ctx, m) }, true
		}
		var taken *redsync.ErrTaken
		if !errors.As(err, &taken) || time.Now().After(deadline) {
			return func() {}, false
		}
		if first {
			// So that one whose holder is gone does not outlast a clock that was
			// set back; an error is one of the tries to come too.
			_, _ = run(ctx, s.client, withinScript, "look at a lock", []string{name}, milliseconds(s.opts.LeaseTTL))
		}
		if pause(ctx, 10*time.Millisecond+rand.N(20*time.Millisecond)) != nil {
			return func() {}, false
		}
	}
}

// release unlocks under its own deadline: with a context that has ended, the
// key would stay until it expires. A lock that cannot be released expires too.
func release(ctx context.Context, m *redsync.Mutex) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockWithin)
	defer cancel()
	_, _ = m.UnlockContext(ctx)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if !loops.Sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}
