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
