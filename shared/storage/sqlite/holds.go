package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	holdSQL    = `INSERT OR IGNORE INTO command_holds (source, since, reason) VALUES (?1, ?2, ?3)`
	releaseSQL = `DELETE FROM command_holds WHERE source = ?1 RETURNING source, since, reason`
	holdsSQL   = `SELECT source, since, reason FROM command_holds ORDER BY source`
)

// Hold holds the commands of a source.
func (s commands) Hold(ctx context.Context, h storage.CommandHold) error {
	err := s.writer.change(ctx, func(t *tx) error {
		_, err := t.exec(holdSQL, h.Source, millis(h.Since), h.Reason)
		return err
	})
	if err != nil {
		return fmt.Errorf("hold the commands of %s: %w", h.Source, err)
	}
	return nil
}

// Release ends the hold of a source.
func (s commands) Release(ctx context.Context, source string) (*storage.CommandHold, error) {
	var h storage.CommandHold
	err := s.writer.change(ctx, func(t *tx) (err error) {
		if h, err = scanHold(t.row(releaseSQL, source)); errors.Is(err, sql.ErrNoRows) {
			return storage.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("release the commands of %s: %w", source, err)
	}
	return &h, nil
}

// Holds returns all holds.
func (s commands) Holds(ctx context.Context) ([]storage.CommandHold, error) {
	rows, err := s.reads.QueryContext(ctx, holdsSQL)
	var out []storage.CommandHold
	if err == nil {
		out, err = collect(rows, scanHold)
	}
	if err != nil {
		return nil, fmt.Errorf("list the holds of commands: %w", readError(ctx, err))
	}
	return out, nil
}

func scanHold(row scanner) (h storage.CommandHold, err error) {
	var since int64
	err = row.Scan(&h.Source, &since, &h.Reason)
	h.Since = fromMillis(since)
	return h, err
}
