package sqlite

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tarn-sync/tarn/shared/storage"
)

// SQLite keeps what it is given: a number as the text of it, but a blob as a blob.
const (
	outboxSQL = `
SELECT key, typeof(key), source, kind, op, ref, id, parents, body, bulk, typeof(seq), seq
FROM outbox INDEXED BY outbox_order WHERE source = ?1 ORDER BY seq, key LIMIT ?2`

	removeOutboxSQL = `DELETE FROM outbox WHERE key = ?1`

	countOutboxSQL = `SELECT count(*) FROM (SELECT 1 FROM outbox INDEXED BY outbox_order WHERE source = ?1 LIMIT ?2)`

	// Each step looks the next source up in the index.
	outboxSourcesSQL = `
WITH RECURSIVE s(name) AS (
	SELECT min(source) FROM outbox
	UNION ALL
	SELECT (SELECT min(source) FROM outbox WHERE source > s.name) FROM s WHERE s.name IS NOT NULL LIMIT ?1)
SELECT name FROM s WHERE name IS NOT NULL`
)

// The first byte of a handle is the type of the key that follows.
const (
	textHandle = 't'
	blobHandle = 'b'
)

// OutboxRows returns the first rows of a source.
func (s *Store) OutboxRows(ctx context.Context, source string, limit int) ([]storage.OutboxRow, error) {
	rows, err := s.reads.QueryContext(ctx, outboxSQL, source, limit)
	if err == nil {
		var out []storage.OutboxRow
		if out, err = collect(rows, scanOutboxRow); err == nil {
			return out, nil
		}
	}
	return nil, fmt.Errorf("read the outbox of %s: %w", source, readError(ctx, err))
}

func scanOutboxRow(row scanner) (r storage.OutboxRow, err error) {
	var key, parents []byte
	var keyType, seqType string
	var ref, id sql.NullString
	var bulk, seq any
	if err := row.Scan(&key, &keyType, &r.Source, &r.Kind, &r.Op, &ref, &id, &parents, &r.Body, &bulk, &seqType, &seq); err != nil {
		return r, err
	}
	r.Ref, r.ID, r.Key, r.Handle = ref.String, id.String, string(key), append([]byte{textHandle}, key...)
	var wrong []string
	if keyType != "text" {
		r.Key, r.Handle[0] = hex.EncodeToString(key), blobHandle
		wrong = append(wrong, "key is a "+keyType+": want a text")
	}
	if n, ok := seq.(int64); ok {
		r.Seq = n
	} else {
		wrong = append(wrong, "seq is a "+seqType+": want a whole number")
	}
	if len(parents) > 0 && json.Unmarshal(parents, &r.Parents) != nil {
		wrong = append(wrong, "parents is no JSON object of texts")
	}
	if n, ok := bulk.(int64); ok && (n == 0 || n == 1) {
		r.Bulk = n == 1
	} else {
		wrong = append(wrong, "bulk is neither 0 nor 1")
	}
	r.Problem = strings.Join(wrong, "; ")
	return r, nil
}

// RemoveOutbox removes a row.
func (s *Store) RemoveOutbox(ctx context.Context, handle []byte) error {
	if len(handle) == 0 {
		return fmt.Errorf("remove a row of the outbox: %w", storage.ErrNotFound)
	}
	var key any = handle[1:]
	if handle[0] == textHandle {
		key = string(handle[1:])
	}
	err := s.writer.change(ctx, func(t *tx) error {
		_, err := t.exec(removeOutboxSQL, key)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove a row of the outbox: %w", err)
	}
	return nil
}

// CountOutbox counts the rows of a source.
func (s *Store) CountOutbox(ctx context.Context, source string, most int) (n int, err error) {
	if err := s.reads.QueryRowContext(ctx, countOutboxSQL, source, most).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the outbox of %s: %w", source, readError(ctx, err))
	}
	return n, nil
}

// OutboxSources names the sources that have rows.
func (s *Store) OutboxSources(ctx context.Context, most int) ([]string, error) {
	rows, err := s.reads.QueryContext(ctx, outboxSourcesSQL, most)
	if err == nil {
		var names []string
		if names, err = collect(rows, func(row scanner) (name string, err error) { return name, row.Scan(&name) }); err == nil {
			return names, nil
		}
	}
	return nil, fmt.Errorf("read the sources of the outbox: %w", readError(ctx, err))
}

// WatchOutbox returns storage.ErrNoBell: SQLite does not tell other processes of changes.
func (s *Store) WatchOutbox(context.Context, func()) error { return storage.ErrNoBell }

// WatchFeed returns storage.ErrNoBell likewise.
func (s *Store) WatchFeed(context.Context, string, func()) error { return storage.ErrNoBell }
