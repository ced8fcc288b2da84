package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

const (
	actsList    = "acts"
	noteColumns = `id, at, source, kind, event_id, reason, count, actor, did, target, why, state_before, state_after`

	noteSQL = `
INSERT INTO audit (` + noteColumns + `) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
ON CONFLICT DO NOTHING`

	duplicatesSQL = `UPDATE events SET duplicates = duplicates + ?3 WHERE source = ?1 AND id = ?2`
)

// Note adds to the audit; duplicates are counted on their event's row.
func (s *Store) Note(ctx context.Context, notes []storage.Note) error {
	if len(notes) == 0 {
		return nil
	}
	err := s.writer.change(ctx, func(t *tx) error {
		for i := range notes {
			if err := t.note(&notes[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("note: %w", err)
	}
	return nil
}

func (t *tx) note(n *storage.Note) error {
	count := max(n.Count, 1)
	isNew, err := t.exec(noteSQL, n.ID, millis(n.At), n.Source, n.Kind, n.EventID, n.Reason, count, n.By, n.Did, n.To, n.Why, n.Before, n.After)
	if err != nil || isNew == 0 || n.Kind != storage.NoteDuplicate {
		return err
	}
	_, err = t.exec(duplicatesSQL, n.Source, n.EventID, count)
	return err
}

// Acts lists operators' actions, newest first.
func (s *Store) Acts(ctx context.Context, f storage.NoteFilter) (storage.Page[*storage.Note], error) {
	c := conditions{by: "audit_acts"}
	c.add("kind = 'operator'")
	c.equal("source", f.Source)
	c.equal("actor", f.By)
	c.between("at", f.From, f.To)
	return list(ctx, s, newestFirst[*storage.Note]{
		list: actsList, columns: noteColumns, table: "audit", time: "at", scan: scanNote,
		place: func(n *storage.Note) page.Place { return page.Place{At: millis(n.At), ID: n.ID} },
	}, c, f.Limit, f.Cursor)
}

func scanNote(row scanner) (*storage.Note, error) {
	var n storage.Note
	var at int64
	err := row.Scan(&n.ID, &at, &n.Source, &n.Kind, &n.EventID, &n.Reason, &n.Count, &n.By, &n.Did, &n.To, &n.Why, &n.Before, &n.After)
	n.At = fromMillis(at)
	return &n, err
}

// NoteByID returns a note.
func (s *Store) NoteByID(ctx context.Context, id string) (*storage.Note, error) {
	n, err := scanNote(s.reads.QueryRowContext(ctx, "SELECT "+noteColumns+" FROM audit WHERE id = ?", id))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, fmt.Errorf("read note %s: %w", id, storage.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("read note %s: %w", id, readError(ctx, err))
	}
	return n, nil
}
