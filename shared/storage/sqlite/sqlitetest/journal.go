package sqlitetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Shown is one state that the mirror showed.
type Shown struct {
	Kind, ID string
	// Claim is that of the fetch that brought it.
	Claim int64
	Raw   []byte
}

const journal = `
CREATE TABLE IF NOT EXISTS test_journal (
	n INTEGER PRIMARY KEY, kind TEXT NOT NULL, id TEXT NOT NULL, claim INTEGER NOT NULL, raw TEXT NOT NULL);
CREATE TRIGGER IF NOT EXISTS test_journal_insert AFTER INSERT ON mirror WHEN new.raw IS NOT NULL BEGIN
	INSERT INTO test_journal (kind, id, claim, raw) VALUES (new.kind, new.id, new.synced_claim, new.raw);
END;
CREATE TRIGGER IF NOT EXISTS test_journal_update AFTER UPDATE ON mirror WHEN new.raw IS NOT old.raw BEGIN
	INSERT INTO test_journal (kind, id, claim, raw) VALUES (new.kind, new.id, new.synced_claim, new.raw);
END;`

// Journal makes a store's file keep every state its mirror shows from now on.
// The file must have been opened by a store before.
func Journal(ctx context.Context, path string) error {
	return with(ctx, path, func(c *sql.Conn) error {
		if _, err := c.ExecContext(ctx, journal); err != nil {
			return fmt.Errorf("make the journal of %s: %w", path, err)
		}
		return nil
	})
}

// Read gives each state of the journal to f, in the order the mirror showed
// them.
func Read(ctx context.Context, path string, f func(Shown)) error {
	return with(ctx, path, func(c *sql.Conn) error {
		rows, err := c.QueryContext(ctx, "SELECT kind, id, claim, raw FROM test_journal ORDER BY n")
		if err != nil {
			return fmt.Errorf("read the journal of %s: %w", path, err)
		}
		defer func() { _ = rows.Close() }() // Err reports it
		for rows.Next() {
			var s Shown
			if err := rows.Scan(&s.Kind, &s.ID, &s.Claim, &s.Raw); err != nil {
				return fmt.Errorf("read the journal of %s: %w", path, err)
			}
			f(s)
		}
		return rows.Err()
	})
}

// with opens a connection of its own to a file.
func with(ctx context.Context, path string, do func(*sql.Conn) error) (err error) {
	q := url.Values{"_pragma": {"busy_timeout(20000)"}}
	name := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return do(conn)
}
