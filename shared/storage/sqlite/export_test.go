package sqlite

import (
	"context"
	"log/slog"
)

// OpenWatched opens a store whose statements a driver of that name executes.
func OpenWatched(ctx context.Context, path, driver string, scanSize int) (*Store, error) {
	return Open(ctx, path, Options{Logger: slog.New(slog.DiscardHandler), ScanSize: scanSize, driver: driver})
}
