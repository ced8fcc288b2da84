package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

const schema = `
CREATE TABLE IF NOT EXISTS entities (
	subject  TEXT PRIMARY KEY,
	version  INTEGER NOT NULL,
	state    TEXT,             -- the provider's JSON; the last one of what is deleted; NULL if it is erased
	deleted  INTEGER NOT NULL, -- 1: the provider has it no longer, or it is erased
	snapshot INTEGER NOT NULL  -- the number of the last snapshot that named it, or that it came after
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (
	one      INTEGER PRIMARY KEY CHECK (one = 1),
	after    TEXT NOT NULL,    -- the cursor behind all that is stored
	snapshot INTEGER NOT NULL  -- the number of the snapshot that it began with
);
INSERT INTO place VALUES (1, 'snapshot', 1) ON CONFLICT DO NOTHING;`

// keep keeps the greater version of an entity.
const keep = `
INSERT INTO entities (subject, version, state, deleted, snapshot) VALUES (?1, ?2, ?3, ?4, (SELECT snapshot FROM place))
ON CONFLICT (subject) DO UPDATE SET
	state    = iif(excluded.version >= version, excluded.state, state),
	deleted  = iif(excluded.version >= version, excluded.deleted, deleted),
	version  = max(excluded.version, version),
	snapshot = excluded.snapshot`

// Copy is the database: the entities, and the cursor behind them.
type Copy struct{ db *sql.DB }

// Open opens a copy. A new one is empty.
func Open(ctx context.Context, path string) (*Copy, error) {
	settings := url.Values{"_pragma": {"journal_mode(wal)", "synchronous(full)", "busy_timeout(10000)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", "file:"+url.PathEscape(path)+"?"+settings.Encode())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return &Copy{db}, nil
}

// Close closes it.
func (c *Copy) Close() error { return c.db.Close() }

// Cursor returns the cursor behind all that is stored.
func (c *Copy) Cursor(ctx context.Context) (after string, err error) {
	if err := c.db.QueryRowContext(ctx, "SELECT after FROM place").Scan(&after); err != nil {
		return "", fmt.Errorf("read the cursor: %w", err)
	}
	return after, nil
}

// Store stores the items of a page and the cursor behind them in one transaction.
func (c *Copy) Store(ctx context.Context, page *Page) error {
	return c.transact(ctx, func(tx *sql.Tx) error {
		for _, it := range page.Items {
			if err := store(ctx, tx, it); err != nil {
				return fmt.Errorf("store %s: %w", it.Subject, err)
			}
		}
		if page.Synced { // what the snapshot did not name is there no more
			if _, err := tx.ExecContext(ctx, "DELETE FROM entities WHERE snapshot < (SELECT snapshot FROM place)"); err != nil {
				return fmt.Errorf("end a snapshot: %w", err)
			}
		}
		if _, err := tx.ExecContext(ctx, "UPDATE place SET after = ?1", page.After); err != nil {
			return fmt.Errorf("store the cursor: %w", err)
		}
		return nil
	})
}

// store stores one item.
func store(ctx context.Context, tx *sql.Tx, it Item) error {
	state := sql.NullString{String: string(it.Data.State), Valid: true}
	switch it.Type {
	case changed, deleted:
	case erased:
		state = sql.NullString{}
	default:
		return nil // it is not about an entity
	}
	_, err := tx.ExecContext(ctx, keep, it.Subject, it.Data.Version, state, it.Type != changed)
	return err
}

// Restart begins with a snapshot, as after a cursor that is gone. drop drops all entities
// first; otherwise they stay until the snapshot is over.
func (c *Copy) Restart(ctx context.Context, drop bool) error {
	return c.transact(ctx, func(tx *sql.Tx) error {
		if drop {
			if _, err := tx.ExecContext(ctx, "DELETE FROM entities"); err != nil {
				return fmt.Errorf("drop the copy: %w", err)
			}
		}
		if _, err := tx.ExecContext(ctx, "UPDATE place SET after = 'snapshot', snapshot = snapshot + 1"); err != nil {
			return fmt.Errorf("begin a snapshot: %w", err)
		}
		return nil
	})
}

// transact does all of do, or nothing of it.
func (c *Copy) transact(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := c.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // nothing is left of it after Commit
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("end a transaction: %w", err)
	}
	return nil
}
