package sqlite

import (
	"context"
	"fmt"

	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	noteSQL = `
INSERT INTO audit (id, at, source, kind, event_id, reason, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
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
	isNew, err := t.exec(noteSQL, n.ID, millis(n.At), n.Source, n.Kind, n.EventID, n.Reason, count)
	if err != nil || isNew == 0 || n.Kind != storage.NoteDuplicate {
		return err
	}
	_, err = t.exec(duplicatesSQL, n.Source, n.EventID, count)
	return err
}
