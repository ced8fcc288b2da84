// Package open opens the store a URL names. It is apart from package storage because
// it imports every store, and they import storage.
package open

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
)

// forms are the URLs Open understands, as its errors name them.
const forms = "mongodb://host:27017/database, mongodb+srv://host/database or sqlite:///absolute/path/to/file.db"

// Options are the settings of a store.
type Options struct {
	// URL names the database: mongodb://, mongodb+srv:// or sqlite://.
	URL string
	// Retention is how long the past is kept. Defaults to for ever.
	Retention storage.Retention
	// BulkSize is how many updates are sent in one MongoDB command, at
	// most. Defaults to 1,000. Not used by SQLite.
	BulkSize int
	// Monitor hears of every MongoDB command. Defaults to none.
	Monitor *event.CommandMonitor
	// Now is the clock of SQLite's retention. Defaults to time.Now.
	Now func() time.Time
	// Logger hears of what fails in the background. Defaults to slog.Default.
	Logger *slog.Logger
}

// Open opens the store o.URL names. Errors do not repeat the URL, which may
// hold a password.
func Open(ctx context.Context, o Options) (storage.Store, error) {
	scheme, rest, ok := strings.Cut(o.URL, "://")
	if !ok {
		return nil, fmt.Errorf("the store's URL has no scheme: want %s", forms)
	}
	switch scheme {
	case "mongodb", "mongodb+srv":
		return openMongo(ctx, o)
	case "sqlite":
		return openSQLite(ctx, rest, o)
	}
	return nil, fmt.Errorf("the store's URL has the scheme %q: want %s", scheme, forms)
}

// System is the database that a URL names as OpenTelemetry does (db.system.name):
// mongodb or sqlite.
func System(address string) string {
	scheme, _, _ := strings.Cut(address, "://")
	return strings.TrimSuffix(scheme, "+srv")
}

func openMongo(ctx context.Context, o Options) (storage.Store, error) {
	s, err := mongo.Open(ctx, o.URL, mongo.Options{
		Retention: o.Retention, BulkSize: o.BulkSize, Monitor: o.Monitor, Logger: o.Logger,
	})
	if err != nil {
		return nil, err // not s: a nil *Store in an interface is not nil
	}
	return s, nil
}

func openSQLite(ctx context.Context, path string, o Options) (storage.Store, error) {
	path, err := url.PathUnescape(path)
	if err != nil || !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "?") {
		return nil, errors.New("the store's URL names no file: want sqlite:///absolute/path/to/file.db")
	}
	s, err := sqlite.Open(ctx, path, sqlite.Options{Retention: o.Retention, Now: o.Now, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	return s, nil
}
