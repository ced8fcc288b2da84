package sqlitetest

import (
	"context"
	"database/sql"
	"fmt"
)

// OutboxRow is a row of the table outbox. "" is NULL.
type OutboxRow struct {
	Key, Source, Kind, Op, Ref, ID, Parents, Body string
	Seq                                           int64
}

// Leave adds a row to the outbox, as an application does with a connection of its own. A
// row that is there stays as it is.
func Leave(ctx context.Context, path string, r OutboxRow) error {
	return with(ctx, path, func(c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `INSERT INTO outbox (key, source, kind, op, ref, id, parents, body, seq)
VALUES (?1, ?2, ?3, ?4, nullif(?5, ''), nullif(?6, ''), nullif(?7, 'null'), nullif(?8, ''), ?9) ON CONFLICT DO NOTHING`,
			r.Key, r.Source, r.Kind, r.Op, r.Ref, r.ID, r.Parents, r.Body, r.Seq)
		if err != nil {
			return fmt.Errorf("leave %s in the outbox: %w", r.Key, err)
		}
		return nil
	})
}
