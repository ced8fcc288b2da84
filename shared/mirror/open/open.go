// Package open opens the store a URL names. It stands apart from package
// mirror because it imports every store, and they import mirror.
package open

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/mirror/sqlite"
)

// forms are the URLs Open understands, as its errors name them.
const forms = "mongodb://host:27017/database, mongodb+srv://host/database or sqlite:///absolute/path/to/file.db"

// Options are the settings of a store.
type Options struct {
	// URL names the database: mongodb://, mongodb+srv:// or sqlite://.
	URL string
	// Retention is how long the past is kept. Defaults to for ever.
	Retention mirror.Retention
	// BulkSize is how many updates are sent in one MongoDB command, 1 to
	// 100,000. Defaults to 1,000. Not used by SQLite.
	BulkSize int
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Logger hears of what fails in the background. Defaults to slog.Default.
	Logger *slog.Logger
}

// Open opens the store o.URL names.
func Open(ctx context.Context, o Options) (mirror.Store, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		// The error of url.Parse repeats the URL, which may hold a password.
		return nil, fmt.Errorf("the store's URL cannot be read: want %s", forms)
	}
	switch u.Scheme {
	case "sqlite":
		return openSQLite(ctx, u, o)
	}
	return nil, fmt.Errorf("the store's URL has the scheme %q: want %s", u.Scheme, forms)
}

func openSQLite(ctx context.Context, u *url.URL, o Options) (mirror.Store, error) {
	if u.Host != "" || u.Path == "" || u.Path == "/" || u.RawQuery != "" {
		return nil, fmt.Errorf("the store's URL %q names no file: want sqlite:///absolute/path/to/file.db", u.Redacted())
	}
	return sqlite.Open(ctx, u.Path, sqlite.Options{Retention: o.Retention, Now: o.Now, Logger: o.Logger})
}
