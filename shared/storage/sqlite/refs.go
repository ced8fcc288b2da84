package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Refs: what an application calls an entity, and how many commands each lane has had.
const (
	nextNumberSQL = `
INSERT INTO refs (source, kind, address, n) VALUES (?1, ?2, ?3, 1)
ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n`

	refSQL = `SELECT source, kind, address, n, entity, parents, bound_by, bound_at FROM refs WHERE source = ?1 AND kind = ?2 AND address = ?3`

	refToSQL = `
SELECT source, kind, address, n, entity, parents, bound_by, bound_at FROM refs INDEXED BY refs_entity
WHERE entity <> '' AND source = ?1 AND kind = ?2 AND entity = ?3 ORDER BY address LIMIT 1`

	bindSQL = `
INSERT INTO refs (source, kind, address, n, entity, parents, bound_by, bound_at) VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7)
ON CONFLICT DO UPDATE SET entity = excluded.entity, parents = excluded.parents, bound_by = excluded.bound_by, bound_at = excluded.bound_at`

	bindFirstSQL = bindSQL + ` WHERE refs.entity = ''`

	ringSQL = `
UPDATE commands SET due_at = ?3, rev = rev + 1 WHERE open = 1 AND waits_on <> '' AND source = ?1 AND waits_on = ?2 AND due_at > ?3`
)

// Ref returns the address of a lane.
func (s commands) Ref(ctx context.Context, lane event.Key) (*storage.Ref, error) {
	return s.ref(ctx, refSQL, lane)
}

// RefTo returns a ref that names an entity.
func (s commands) RefTo(ctx context.Context, entity event.Key) (*storage.Ref, error) {
	return s.ref(ctx, refToSQL, entity)
}

func (s commands) ref(ctx context.Context, query string, k event.Key) (*storage.Ref, error) {
	r, err := scanRef(s.reads.QueryRowContext(ctx, query, k.Source, k.Kind, k.Local()))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read ref %s: %w", k, storage.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read ref %s: %w", k, readError(ctx, err))
	}
	return r, nil
}

// Bind has a ref name an entity, unless it names one.
func (s commands) Bind(ctx context.Context, r storage.Ref) (*storage.Ref, error) {
	return s.bind(ctx, bindFirstSQL, r)
}

// Rebind has a ref name another entity.
func (s commands) Rebind(ctx context.Context, r storage.Ref) (*storage.Ref, error) {
	return s.bind(ctx, bindSQL, r)
}

func (s commands) bind(ctx context.Context, query string, r storage.Ref) (bound *storage.Ref, err error) {
	parents, err := object(r.Parents)
	if err == nil {
		err = checkKeys(r.Lane, r.Entity)
	}
	if err != nil {
		return nil, fmt.Errorf("bind ref %s: %w", r.Lane, err)
	}
	ref, _ := storage.RefOfLane(r.Lane)
	err = s.writer.change(ctx, func(t *tx) error {
		_, err := t.exec(query, r.Lane.Source, r.Lane.Kind, r.Lane.Local(), r.Entity.Local(), parents, r.By, millis(r.At))
		if err != nil {
			return err
		}
		if _, err := t.exec(ringSQL, r.Lane.Source, r.Lane.Kind+"/"+ref, millis(r.At)); err != nil {
			return err
		}
		bound, err = scanRef(t.row(refSQL, r.Lane.Source, r.Lane.Kind, r.Lane.Local()))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("bind ref %s: %w", r.Lane, err)
	}
	return bound, nil
}

func scanRef(row scanner) (*storage.Ref, error) {
	var r storage.Ref
	var parents string
	var at int64
	k := &r.Lane
	if err := row.Scan(&k.Source, &k.Kind, local{k}, &r.N, local{&r.Entity}, &parents, &r.By, &at); err != nil {
		return nil, err
	}
	if r.Entity.ID != "" {
		r.Entity.Source, r.Entity.Kind = k.Source, k.Kind
	}
	var err error
	r.At = fromMillis(at)
	r.Parents, err = fromObject(parents)
	return &r, err
}
