package mongo

import (
	"context"
	"time"
)

// OpenHeldBy opens a store that waits so long for its indexes.
func OpenHeldBy(ctx context.Context, uri string, o Options, wait time.Duration) (*Store, error) {
	o.heldBy = wait
	return Open(ctx, uri, o)
}

// Queue is what is under way of the claims, writes or settlements of a kind:
// whether a command is, and how many calls wait for the next.
func (s *Store) Queue(call, source, kind string) (busy bool, waiting int) {
	switch m := s.mirror(source, kind); call {
	case "claim":
		return m.claims.queued()
	case "write":
		return m.writes.queued()
	default:
		return s.settles.queued()
	}
}

func (c *combiner[In, Out]) queued() (busy bool, waiting int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.busy, len(c.waiting)
}
