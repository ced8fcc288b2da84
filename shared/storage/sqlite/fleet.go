package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	// fleetTable is made beside the versioned tables: a program that does not know
	// it keeps all that relies on it, so it is no reason for another version.
	fleetTable = `
CREATE TABLE IF NOT EXISTS fleet (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	id     TEXT NOT NULL,
	prefix TEXT NOT NULL,
	shards INTEGER NOT NULL,
	data   TEXT NOT NULL,
	turn   INTEGER NOT NULL
)`

	fleetSQL       = `SELECT id, prefix, shards, data, turn FROM fleet WHERE one = 1`
	foundFleetSQL  = `INSERT INTO fleet (one, id, prefix, shards, data, turn) VALUES (1, ?1, ?2, ?3, ?4, 1) ON CONFLICT DO NOTHING`
	changeFleetSQL = `UPDATE fleet SET id = ?1, prefix = ?2, shards = ?3, data = ?4, turn = turn + 1 WHERE one = 1 AND turn = ?5`
)

// Fleet returns the fleet the database belongs to, or storage.ErrNotFound. It
// fails once the file was replaced, before or while it was read. It is asked every
// few seconds, and does not take the writer's turn.
func (s *Store) Fleet(ctx context.Context) (storage.Fleet, error) {
	if err := s.writer.file.check(); err != nil {
		return storage.Fleet{}, fmt.Errorf("read the fleet: %w", err)
	}
	f, err := scanFleet(s.reads.QueryRowContext(ctx, fleetSQL))
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		err = readError(ctx, err)
	}
	if err := errors.Join(err, s.writer.file.check()); err != nil {
		return storage.Fleet{}, fmt.Errorf("read the fleet: %w", err)
	}
	return f, nil
}

// FoundFleet keeps f unless the database belongs to a fleet already.
func (s *Store) FoundFleet(ctx context.Context, f storage.Fleet) (stored storage.Fleet, err error) {
	err = s.writer.change(ctx, func(t *tx) (err error) {
		if _, err = t.exec(foundFleetSQL, f.ID, f.Prefix, f.Shards, f.Data); err != nil {
			return err
		}
		stored, err = scanFleet(t.row(fleetSQL))
		return err
	})
	if err != nil {
		return storage.Fleet{}, fmt.Errorf("found the fleet: %w", err)
	}
	return stored, nil
}

// ChangeFleet replaces what is known of the fleet if the turn is still f.Turn.
func (s *Store) ChangeFleet(ctx context.Context, f storage.Fleet) (changed bool, err error) {
	err = s.writer.change(ctx, func(t *tx) error {
		n, err := t.exec(changeFleetSQL, f.ID, f.Prefix, f.Shards, f.Data, f.Turn)
		changed = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("change the fleet: %w", err)
	}
	return changed, nil
}

func scanFleet(row scanner) (f storage.Fleet, err error) {
	err = row.Scan(&f.ID, &f.Prefix, &f.Shards, &f.Data, &f.Turn)
	if errors.Is(err, sql.ErrNoRows) {
		err = storage.ErrNotFound
	}
	return f, err
}
