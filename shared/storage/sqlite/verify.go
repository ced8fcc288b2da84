package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	verifySQL = `
UPDATE mirror SET verified_at = ?5
WHERE source = ?1 AND kind = ?2 AND id = ?3 AND state_hash = ?4 AND verified_at < ?5 AND synced_claim > 0
	AND (deleted_at > 0) = ?6`

	// lookedAfter leaves out what has been terminal or deleted for long: nothing
	// will change it. That it was verified since it became so need not be asked:
	// the write that says so also verifies.
	lookedAfter = `synced_claim > 0 AND (terminal_at = 0 OR terminal_at >= ?) AND (deleted_at = 0 OR deleted_at >= ?)`

	// scanStepSQL is the id at which a step of a scan ends.
	scanStepSQL = `SELECT (SELECT id FROM mirror WHERE source = ? AND kind = ? AND id > ? ORDER BY id LIMIT 1 OFFSET ?)`

	// mirrorByID is the index of the mirror's primary key, as SQLite names it.
	mirrorByID = "sqlite_autoindex_mirror_1"

	unfetchedSQL = `SELECT count(*) FROM mirror INDEXED BY mirror_unfetched WHERE source = ? AND kind = ? AND synced_claim = 0`

	firstUnfetchedSQL = `SELECT ` + documentColumns + ` FROM mirror INDEXED BY mirror_unfetched
WHERE source = ? AND kind = ? AND synced_claim = 0 LIMIT ?`

	// livingSQL reads what is not terminal, the newest verified first, endedSQL
	// what is.
	livingSQL = `SELECT ` + documentColumns + ` FROM mirror INDEXED BY mirror_living
WHERE source = ? AND kind = ? AND synced_claim > 0 AND terminal_at = 0 AND deleted_at = 0 ORDER BY verified_at DESC LIMIT ?`
	endedSQL = `SELECT ` + documentColumns + ` FROM mirror INDEXED BY mirror_ended
WHERE source = ? AND kind = ? AND terminal_at > 0 AND deleted_at = 0 ORDER BY terminal_at DESC LIMIT ?`

	stalestSQL = `
SELECT min(verified_at) FROM mirror INDEXED BY mirror_living
WHERE source = ? AND kind = ? AND synced_claim > 0 AND terminal_at = 0 AND deleted_at = 0`
)

// Documents returns the documents of the keys that the mirror holds.
func (s *Store) Documents(ctx context.Context, keys []event.Key) (docs []*storage.Document, err error) {
	for part := range slices.Chunk(keys, queryIDs/2) {
		args := make([]any, 0, 3*len(part))
		for _, k := range part {
			args = append(args, k.Source, k.Kind, k.Local())
		}
		values := slices.Repeat([]string{"(?, ?, ?)"}, len(part))
		rows, err := s.reads.QueryContext(ctx, "SELECT "+documentColumns+" FROM mirror WHERE (source, kind, id) IN (VALUES "+
			strings.Join(values, ", ")+")", args...)
		if err != nil {
			return nil, fmt.Errorf("read %d documents: %w", len(keys), readError(ctx, err))
		}
		found, err := collect(rows, scanDocument)
		if err != nil {
			return nil, fmt.Errorf("read %d documents: %w", len(keys), readError(ctx, err))
		}
		docs = append(docs, found...)
	}
	return docs, nil
}

// Verify moves verified_at up where the state is still the compared one.
func (s *Store) Verify(ctx context.Context, same []storage.Verified) (moved int, err error) {
	for part := range slices.Chunk(same, batchSize) {
		n, err := s.verify(ctx, part)
		if err != nil {
			return moved, err
		}
		moved += n
	}
	return moved, nil
}

func (s *Store) verify(ctx context.Context, same []storage.Verified) (moved int, err error) {
	err = s.batch(ctx, "note verified documents", len(same), func(t *tx) error {
		moved = 0
		for _, v := range same {
			n, err := t.exec(verifySQL, v.Key.Source, v.Key.Kind, v.Key.Local(), v.StateHash, millis(v.At), v.Deleted)
			if err != nil {
				return err
			}
			moved += int(n)
		}
		return nil
	})
	return moved, err
}

// DueForVerify lists fetched documents to be checked, by id, among those that
// one step of the scan reads.
func (s *Store) DueForVerify(ctx context.Context, f storage.DueFilter) (due []*storage.Document, next string, err error) {
	due, next, err = s.dueForVerify(ctx, f)
	if err != nil {
		return nil, "", fmt.Errorf("list %s/%s to verify: %w", f.Source, f.Kind, readError(ctx, err))
	}
	return due, next, nil
}

func (s *Store) dueForVerify(ctx context.Context, f storage.DueFilter) (due []*storage.Document, next string, err error) {
	end, err := s.scanStep(ctx, f)
	if err != nil {
		return nil, "", err
	}
	terminal := millis(f.TerminalBefore)
	var c conditions
	// To the end is to the first blob: SQLite sorts texts before it.
	var last any = []byte{}
	if end.Valid {
		last = end.String
	}
	c.add("source = ? AND kind = ? AND id > ? AND id <= ?", f.Source, f.Kind, f.After, last)
	c.add("verified_at < ?", millis(f.VerifiedBefore))
	c.add(lookedAfter, terminal, terminal)
	limit := max(f.Limit, 1)
	rows, err := s.reads.QueryContext(ctx,
		"SELECT "+documentColumns+" FROM mirror INDEXED BY "+mirrorByID+c.where()+" ORDER BY id LIMIT ?", append(c.args, limit)...)
	if err != nil {
		return nil, "", err
	}
	if due, err = collect(rows, scanDocument); err != nil {
		return nil, "", err
	}
	if len(due) == limit {
		return due, due[limit-1].Key.Local(), nil
	}
	return due, end.String, nil
}

// scanStep is the id at which the step of a scan ends that a page lies in, found
// once for all pages of the step. NULL: it reaches the end of all.
func (s *Store) scanStep(ctx context.Context, f storage.DueFilter) (end sql.NullString, err error) {
	scan := f.Source + "/" + f.Kind
	if end.String, end.Valid = s.steps.End(scan, f.After); end.Valid {
		return end, nil
	}
	err = s.reads.QueryRowContext(ctx, scanStepSQL, f.Source, f.Kind, f.After, s.scanSize-1).Scan(&end)
	if err == nil && end.Valid {
		s.steps.Keep(scan, f.After, end.String)
	}
	return end, err
}

// Living returns fetched documents that are not deleted.
func (s *Store) Living(ctx context.Context, source, kind string, limit int) ([]*storage.Document, error) {
	limit = max(limit, 1)
	var out []*storage.Document
	for _, query := range []string{livingSQL, endedSQL} {
		if len(out) == limit {
			break
		}
		rows, err := s.reads.QueryContext(ctx, query, source, kind, limit-len(out))
		if err != nil {
			return nil, fmt.Errorf("look for what lives of %s/%s: %w", source, kind, readError(ctx, err))
		}
		docs, err := collect(rows, scanDocument)
		if err != nil {
			return nil, fmt.Errorf("look for what lives of %s/%s: %w", source, kind, readError(ctx, err))
		}
		out = append(out, docs...)
	}
	return out, nil
}

// Unfetched counts the documents of some kinds that were asked for and never had.
func (s *Store) Unfetched(ctx context.Context, source string, kinds []string) (n int64, err error) {
	for _, kind := range kinds {
		var of int64
		if err := s.reads.QueryRowContext(ctx, unfetchedSQL, source, kind).Scan(&of); err != nil {
			return 0, fmt.Errorf("count what was never fetched of %s/%s: %w", source, kind, readError(ctx, err))
		}
		n += of
	}
	return n, nil
}

// FirstUnfetched returns some of those of one kind.
func (s *Store) FirstUnfetched(ctx context.Context, source, kind string, limit int) ([]*storage.Document, error) {
	var docs []*storage.Document
	rows, err := s.reads.QueryContext(ctx, firstUnfetchedSQL, source, kind, max(limit, 1))
	if err == nil {
		docs, err = collect(rows, scanDocument)
	}
	if err != nil {
		return nil, fmt.Errorf("list what was never fetched of %s/%s: %w", source, kind, readError(ctx, err))
	}
	return docs, nil
}

// Staleness answers for those of some kinds of which something lives.
func (s *Store) Staleness(ctx context.Context, source string, kinds []string) (out []storage.Staleness, err error) {
	for _, kind := range kinds {
		var oldest sql.NullInt64
		if err := s.reads.QueryRowContext(ctx, stalestSQL, source, kind).Scan(&oldest); err != nil {
			return nil, fmt.Errorf("look for the stalest of %s/%s: %w", source, kind, readError(ctx, err))
		}
		if oldest.Valid {
			out = append(out, storage.Staleness{Kind: kind, Oldest: fromMillis(oldest.Int64)})
		}
	}
	return out, nil
}
