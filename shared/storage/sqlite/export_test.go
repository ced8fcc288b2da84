package sqlite

import (
	"context"
	"log/slog"
)

// OpenWatched opens a store whose queries a driver of that name executes, and whose
// other statements are noted.
func OpenWatched(ctx context.Context, path, driver string, note func(query string), scanSize int) (*Store, error) {
	return Open(ctx, path, Options{Logger: slog.New(slog.DiscardHandler), ScanSize: scanSize, driver: driver, prepared: note})
}

// Age removes what a store opened with a clock no longer keeps.
func (s *Store) Age(ctx context.Context) error { return s.sweep.sweep(ctx) }
