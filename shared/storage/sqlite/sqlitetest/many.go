package sqlitetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// manyPage is how many events one statement of Many copies.
const manyPage = 100_000

// copied are the tables whose rows an event has, with the column that numbers events
// there and what differs in a copy: i is the number of the copy, ago how long before
// the original it came, in ms. Other columns are the original's.
var copied = []struct {
	table, event string
	differs      map[string]string
}{
	{"events", "n", map[string]string{
		"n":            "t.n + i",
		"id":           "printf('evt_%08x%08x', (i * 2654435761) & 4294967295, i)",
		"created_at":   "t.created_at - ago",
		"received_at":  "t.received_at - ago",
		"processed_at": "t.processed_at - ago",
		"signal_id":    "printf('%d-0', t.received_at - ago)",
	}},
	{"outcomes", "event", map[string]string{
		"event":       "t.event + i",
		"id":          "CASE t.kind WHEN 'account' THEN printf('%s%04d', substr(t.id, 1, length(t.id) - 4), i % 200) ELSE printf('%.4s_%08x%08x', t.id, (i * 2654435761) & 4294967295, i) END",
		"received_at": "t.received_at - ago",
		"fetched_at":  "t.fetched_at - ago",
		"signal_id":   "printf('%d-0', t.received_at - ago)",
	}},
}

// ManyID is the id of the i-th event of Many, from 1 on.
func ManyID(i int) string { return fmt.Sprintf("evt_%08x%08x", uint32(i*2654435761), i) }

// Many makes a log of many events that are like the newest one of the file, each a
// second older than the next. They have ids in no order, a primary entity each, and one
// of 200 accounts if the original names an account. No store may have the file open.
// The rows are written without a journal: after an error the file is of no use.
func Many(ctx context.Context, path string, events int) error {
	return with(ctx, path, func(c *sql.Conn) (err error) {
		fast := []string{"locking_mode = exclusive", "journal_mode = off", "synchronous = off", "cache_size = -1000000"}
		for _, pragma := range fast {
			if _, err := c.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
				return fmt.Errorf("%s, %s: %w", path, pragma, err)
			}
		}
		indexes, err := dropIndexes(ctx, c)
		if err != nil {
			return fmt.Errorf("take the indexes off %s: %w", path, err)
		}
		var n int64
		if err := c.QueryRowContext(ctx, "SELECT max(n) FROM events").Scan(&n); err != nil {
			return fmt.Errorf("find the newest event of %s: %w", path, err)
		}
		for _, of := range copied {
			statement, err := copying(ctx, c, of.table, of.event, of.differs)
			if err != nil {
				return fmt.Errorf("columns of %s: %w", of.table, err)
			}
			for from := 1; from <= events; from += manyPage {
				if _, err := c.ExecContext(ctx, statement, from, min(from+manyPage-1, events), events, n); err != nil {
					return fmt.Errorf("copy %s of %s: %w", of.table, path, err)
				}
			}
		}
		for _, index := range indexes {
			if _, err := c.ExecContext(ctx, index); err != nil {
				return fmt.Errorf("put an index on %s: %w", path, err)
			}
		}
		_, err = c.ExecContext(ctx, "PRAGMA locking_mode = normal; PRAGMA journal_mode = wal")
		return err
	})
}

// dropIndexes drops the indexes of what is copied, since one that is made of a full
// table takes a fraction of the time, and returns what makes them again.
func dropIndexes(ctx context.Context, c *sql.Conn) (all []string, err error) {
	rows, err := c.QueryContext(ctx, "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ('events', 'outcomes')")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var names []string
	for rows.Next() {
		var name, statement string
		if err := rows.Scan(&name, &statement); err != nil {
			return nil, err
		}
		names, all = append(names, name), append(all, statement)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, name := range names {
		if _, err := c.ExecContext(ctx, "DROP INDEX "+name); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// copying returns the statement that makes copies ?1 to ?2, of ?3 in all, of what event
// ?4 has in a table.
func copying(ctx context.Context, c *sql.Conn, table, event string, differs map[string]string) (statement string, err error) {
	rows, err := c.QueryContext(ctx, "SELECT name FROM pragma_table_info(?)", table)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var columns, values []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return "", err
		}
		value, ok := differs[name]
		if !ok {
			value = "t." + name
		}
		columns, values = append(columns, name), append(values, value)
	}
	return fmt.Sprintf(`INSERT INTO %s (%s)
WITH RECURSIVE numbers (i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM numbers WHERE i < ?2),
copies AS (SELECT i, (?3 - i + 1) * 1000 AS ago FROM numbers)
SELECT %s FROM copies CROSS JOIN %s AS t WHERE t.%s = ?4`,
		table, strings.Join(columns, ", "), strings.Join(values, ", "), table, event), rows.Err()
}
