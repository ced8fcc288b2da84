package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/storage"
)

// headColumns are the columns of a batch without its items, in the order scanHead
// reads them.
const headColumns = `source, first, len, gen, reason, tag, prev, at`

const (
	feedHeadSQL = `SELECT ` + headColumns + ` FROM feed WHERE source = ? ORDER BY first DESC LIMIT 1`
	feedTailSQL = `SELECT ` + headColumns + ` FROM feed WHERE source = ? ORDER BY first LIMIT 1`

	// batchesSQL begins with the last batch that begins at or before the position, if that
	// reaches the position.
	batchesSQL = `SELECT ` + headColumns + `, items FROM feed
WHERE source = ?1 AND first >= ifnull((SELECT max(first) FROM feed WHERE source = ?1 AND first <= ?2), 0) AND first + len > ?2
ORDER BY first LIMIT ?3`

	addBatchSQL = `INSERT OR IGNORE INTO feed (` + headColumns + `, items) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)`

	fedSQL = `UPDATE mirror SET fed = version WHERE source = ?1 AND kind = ?2 AND id = ?3 AND version = ?4 AND fed < ?4`

	debtsSQL = `SELECT source, kind, id, version FROM mirror INDEXED BY mirror_owed
WHERE source = ?1 AND kind = ?2 AND version > fed
	AND rowid > ifnull((SELECT rowid FROM mirror WHERE source = ?1 AND kind = ?2 AND id = ?3), 0) ORDER BY rowid LIMIT ?4`

	walkSQL = `SELECT ` + documentColumns + ` FROM mirror INDEXED BY ` + mirrorByID + `
WHERE source = ? AND kind = ? AND id > ? AND synced_claim > 0 ORDER BY id LIMIT ?`

	// keptFromSQL is the position of the oldest batch that a trim leaves.
	keptFromSQL = `SELECT ifnull((SELECT first FROM feed WHERE source = ?1 AND at >= ?2 ORDER BY first LIMIT 1),
	(SELECT max(first) FROM feed WHERE source = ?1))`
	trimSQL = `DELETE FROM feed WHERE source = ?1 AND first IN
	(SELECT first FROM feed WHERE source = ?1 AND first < ?2 ORDER BY first LIMIT ?3)`
)

// The most that one call answers.
const (
	mostBatches   = 100
	mostDocuments = 1000
)

// FeedHead returns the newest batch of a source, without its items.
func (s *Store) FeedHead(ctx context.Context, source string) (*storage.Batch, error) {
	return s.feedEnd(ctx, "head", feedHeadSQL, source)
}

// FeedTail returns the oldest batch of a source, without its items.
func (s *Store) FeedTail(ctx context.Context, source string) (*storage.Batch, error) {
	return s.feedEnd(ctx, "tail", feedTailSQL, source)
}

func (s *Store) feedEnd(ctx context.Context, end, query, source string) (*storage.Batch, error) {
	b, err := scanHead(s.reads.QueryRowContext(ctx, query, source))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read the %s of the feed of %s: %w", end, source, storage.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read the %s of the feed of %s: %w", end, source, readError(ctx, err))
	}
	return b, nil
}

// Batches returns batches from the one that holds a position.
func (s *Store) Batches(ctx context.Context, source string, position int64, limit int) ([]*storage.Batch, error) {
	rows, err := s.reads.QueryContext(ctx, batchesSQL, source, position, min(max(limit, 1), mostBatches))
	var out []*storage.Batch
	if err == nil {
		out, err = collect(rows, scanBatch)
	}
	if err != nil {
		return nil, fmt.Errorf("read the feed of %s from %d: %w", source, position, readError(ctx, err))
	}
	return out, nil
}

// AddBatch inserts a batch, if its first position is free.
func (s *Store) AddBatch(ctx context.Context, b *storage.Batch) (added bool, err error) {
	items, err := encodeItems(b.Items)
	if err != nil {
		return false, fmt.Errorf("add to the feed of %s: %w", b.Source, err)
	}
	query := addBatchSQL
	if fault.Off("feed-fence") {
		query = strings.Replace(query, "IGNORE", "REPLACE", 1)
		time.Sleep(20 * time.Millisecond) // after the head was read, so that two sequencers meet
	}
	err = s.writer.change(ctx, func(t *tx) error {
		n, err := t.exec(query, b.Source, b.First, b.Len, b.Gen, b.Reason, b.Tag, b.Prev, millis(b.At), items)
		added = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("add to the feed of %s at %d: %w", b.Source, b.First, err)
	}
	return added, nil
}

// Fed notes which versions are in the feed.
func (s *Store) Fed(ctx context.Context, items []storage.Item) (raised int, err error) {
	for part := range slices.Chunk(items, batchSize) {
		n := 0
		err := s.batch(ctx, "note what is in the feed", len(part), func(t *tx) error {
			n = 0
			for _, i := range part {
				one, err := t.exec(fedSQL, i.Key.Source, i.Key.Kind, i.Key.Local(), i.Version)
				if err != nil {
					return err
				}
				n += int(one)
			}
			return nil
		})
		if err != nil {
			return raised, err
		}
		raised += n
	}
	return raised, nil
}

// Debts lists what the feed lacks of a kind.
func (s *Store) Debts(ctx context.Context, source, kind, after string, limit int) ([]storage.Item, error) {
	rows, err := s.reads.QueryContext(ctx, debtsSQL, source, kind, after, min(max(limit, 1), mostDocuments))
	var out []storage.Item
	if err == nil {
		out, err = collect(rows, scanItem)
	}
	if err != nil {
		return nil, fmt.Errorf("list what the feed lacks of %s/%s: %w", source, kind, readError(ctx, err))
	}
	return out, nil
}

// DebtsOf lists what the feed lacks of some entities.
func (s *Store) DebtsOf(ctx context.Context, keys []event.Key) (out []storage.Item, err error) {
	for part := range slices.Chunk(keys, queryIDs/2) {
		args := make([]any, 0, 3*len(part))
		for _, k := range part {
			args = append(args, k.Source, k.Kind, k.Local())
		}
		values := slices.Repeat([]string{"(?, ?, ?)"}, len(part))
		rows, err := s.reads.QueryContext(ctx, "SELECT source, kind, id, version FROM mirror WHERE (source, kind, id) IN (VALUES "+
			strings.Join(values, ", ")+") AND version > fed", args...)
		var found []storage.Item
		if err == nil {
			found, err = collect(rows, scanItem)
		}
		if err != nil {
			return nil, fmt.Errorf("list what the feed lacks of %d entities: %w", len(keys), readError(ctx, err))
		}
		out = append(out, found...)
	}
	return out, nil
}

// Walk returns fetched documents of a kind by id.
func (s *Store) Walk(ctx context.Context, source, kind, after string, limit int) ([]*storage.Document, error) {
	rows, err := s.reads.QueryContext(ctx, walkSQL, source, kind, after, min(max(limit, 1), mostDocuments))
	var out []*storage.Document
	if err == nil {
		out, err = collect(rows, scanDocument)
	}
	if err != nil {
		return nil, fmt.Errorf("walk through %s/%s: %w", source, kind, readError(ctx, err))
	}
	return out, nil
}

// TrimFeed removes old batches, oldest first.
func (s *Store) TrimFeed(ctx context.Context, source string, before time.Time) (removed int, err error) {
	for {
		var from sql.NullInt64
		if err := s.reads.QueryRowContext(ctx, keptFromSQL, source, millis(before)).Scan(&from); err != nil {
			return removed, fmt.Errorf("trim the feed of %s: %w", source, readError(ctx, err))
		}
		var n int64
		err := s.writer.change(ctx, func(t *tx) (err error) {
			n, err = t.exec(trimSQL, source, from.Int64, batchSize)
			return err
		})
		if err != nil {
			return removed, fmt.Errorf("trim the feed of %s: %w", source, err)
		}
		if removed += int(n); n < batchSize {
			return removed, nil
		}
	}
}

func scanHead(row scanner) (*storage.Batch, error) {
	b, at := new(storage.Batch), int64(0)
	err := row.Scan(&b.Source, &b.First, &b.Len, &b.Gen, &b.Reason, &b.Tag, &b.Prev, &at)
	b.At = fromMillis(at)
	return b, err
}

// headAndItems is a row whose last column has the items.
type headAndItems struct {
	scanner
	items []byte
}

// Scan reads the columns and the items.
func (r *headAndItems) Scan(dest ...any) error { return r.scanner.Scan(append(dest, &r.items)...) }

func scanBatch(row scanner) (*storage.Batch, error) {
	r := headAndItems{scanner: row}
	b, err := scanHead(&r)
	if err == nil {
		b.Items, err = decodeItems(b.Source, r.items)
	}
	return b, err
}

func scanItem(row scanner) (i storage.Item, err error) {
	return i, row.Scan(&i.Key.Source, &i.Key.Kind, local{&i.Key}, &i.Version)
}

// storedItem is an item as stored: an array of kind, id and version.
type storedItem storage.Item

// MarshalJSON makes it a json.Marshaler.
func (i storedItem) MarshalJSON() ([]byte, error) {
	return json.Marshal([]any{i.Key.Kind, i.Key.Local(), i.Version})
}

// UnmarshalJSON makes it a json.Unmarshaler.
func (i *storedItem) UnmarshalJSON(b []byte) error {
	var id string
	row := []any{&i.Key.Kind, &id, &i.Version}
	if err := json.Unmarshal(b, &row); err != nil {
		return err
	}
	if len(row) != 3 {
		return fmt.Errorf("an item has %d elements, not 3", len(row))
	}
	i.Key.SetLocal(id)
	return nil
}

func encodeItems(items []storage.Item) (string, error) {
	all := make([]storedItem, len(items))
	for i, it := range items {
		if err := checkKeys(it.Key); err != nil {
			return "", err
		}
		all[i] = storedItem(it)
	}
	b, err := json.Marshal(all)
	return string(b), err
}

func decodeItems(source string, b []byte) ([]storage.Item, error) {
	var all []storedItem
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fate.Errorf(fate.Permanent, "a batch of the feed of %s cannot be read: %w", source, err)
	}
	items := make([]storage.Item, len(all))
	for i, one := range all {
		items[i] = storage.Item(one)
		items[i].Key.Source = source
	}
	return items, nil
}
