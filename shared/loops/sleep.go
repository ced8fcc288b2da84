package loops

import (
	"context"
	"time"
)

// Sleep waits for d and reports whether it did: false means that ctx ended first.
// With a d of 0 or less it only looks at ctx.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
