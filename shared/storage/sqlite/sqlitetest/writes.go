package sqlitetest

import (
	"context"
	"database/sql"
	"fmt"
)

// watch counts by trigger what is written to the mirror. Whatever is not an
// update of verified_at alone is "other". IS NOT compares NULLs too.
const watch = `
DROP TRIGGER IF EXISTS test_writes_insert; DROP TRIGGER IF EXISTS test_writes_delete; DROP TRIGGER IF EXISTS test_writes_update;
DROP TABLE IF EXISTS test_writes;
CREATE TABLE test_writes (what TEXT PRIMARY KEY, n INTEGER NOT NULL);
INSERT INTO test_writes VALUES ('verified', 0), ('other', 0);
CREATE TRIGGER test_writes_insert AFTER INSERT ON mirror BEGIN
	UPDATE test_writes SET n = n + 1 WHERE what = 'other'; END;
CREATE TRIGGER test_writes_delete AFTER DELETE ON mirror BEGIN
	UPDATE test_writes SET n = n + 1 WHERE what = 'other'; END;
CREATE TRIGGER test_writes_update AFTER UPDATE ON mirror BEGIN
	UPDATE test_writes SET n = n + 1 WHERE what = CASE WHEN %s THEN 'other' ELSE 'verified' END; END;`

// Watch counts, from now on, the rows of the mirror that are written.
func Watch(ctx context.Context, path string) error {
	return with(ctx, path, func(c *sql.Conn) error {
		var differs string
		err := c.QueryRowContext(ctx, `SELECT group_concat('new.' || name || ' IS NOT old.' || name, ' OR ')
			FROM pragma_table_info('mirror') WHERE name <> 'verified_at'`).Scan(&differs)
		if err != nil {
			return fmt.Errorf("read the columns of %s: %w", path, err)
		}
		if _, err := c.ExecContext(ctx, fmt.Sprintf(watch, differs)); err != nil {
			return fmt.Errorf("watch the mirror of %s: %w", path, err)
		}
		return nil
	})
}

// Writes returns how many rows of the mirror were written since Watch: those of
// which nothing but verified_at changed, and others.
func Writes(ctx context.Context, path string) (verified, other int64, err error) {
	err = with(ctx, path, func(c *sql.Conn) error {
		err := c.QueryRowContext(ctx, `SELECT sum(n) FILTER (WHERE what = 'verified'), sum(n) FILTER (WHERE what = 'other')
			FROM test_writes`).Scan(&verified, &other)
		if err != nil {
			return fmt.Errorf("count the writes of %s: %w", path, err)
		}
		return nil
	})
	return verified, other, err
}
