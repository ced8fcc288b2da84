package sqlite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

const unsettledList = "unsettled"

// queryIDs is how many ids one query asks for.
const queryIDs = 500

const requeuedSQL = `
UPDATE outcomes SET signal_shard = ?4, signal_id = ?5
WHERE event = ?1 AND kind = ?2 AND id = ?3 AND status = 'pending'`

// homesSQL reads the primary entities of events: an event that names none is its
// own home.
const homesSQL = `
SELECT e.id, coalesce(o.kind, ''), coalesce(o.id, e.id)
FROM events AS e LEFT JOIN outcomes AS o ON o.event = e.n AND o.position = 0`

// Unsettled pages through the rows of a source that have open outcomes, oldest
// first.
func (s *Store) Unsettled(ctx context.Context, source string, before time.Time, limit int, cursor string) ([]*storage.EventRow, string, error) {
	after, ok, err := page.Parse(unsettledList, cursor)
	if err != nil {
		return nil, "", err
	}
	c := unsettled(source, before)
	if ok {
		c.add("(received_at, id) > (?, ?)", after.At, after.ID)
	}
	limit = max(limit, 1)
	rows, err := s.eventRows(ctx, c, oldestReceived, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("read unsettled events of %s: %w", source, readError(ctx, err))
	}
	p := page.Cut(rows, limit, func(r *storage.EventRow) page.Place {
		return page.Place{List: unsettledList, At: millis(r.ReceivedAt), ID: r.ID}
	})
	return p.Items, p.NextCursor, nil
}

// oldestReceived is the order of unsettled rows of one source.
const oldestReceived = "received_at, id"

// unsettled selects open rows. The statuses are literals: only so is the
// index of open rows used.
func unsettled(source string, before time.Time) (c conditions) {
	c.by = "events_unsettled"
	c.add("status IN ('pending', 'retrying') AND source = ? AND received_at < ?", source, millis(before))
	return c
}

// Requeued stores the current entries of open outcomes.
func (s *Store) Requeued(ctx context.Context, again []storage.Requeue) error {
	for part := range slices.Chunk(again, batchSize) {
		if err := s.requeued(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) requeued(ctx context.Context, again []storage.Requeue) error {
	return s.batch(ctx, "note requeued events", len(again), func(t *tx) error {
		for _, r := range again {
			row, ok, err := t.event(r.Source, r.EventID)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if _, err := t.exec(requeuedSQL, row, r.Entity.Kind, r.Entity.Local(), r.Signal.Shard, r.Signal.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// KnownEvents answers which of the ids have a row in the log of a source.
func (s *Store) KnownEvents(ctx context.Context, source string, ids []string) (map[string]bool, error) {
	known := make(map[string]bool, len(ids))
	for part := range slices.Chunk(ids, queryIDs) {
		var c conditions
		c.add("source = ?", source)
		oneOf(&c, "id", part)
		rows, err := s.reads.QueryContext(ctx, "SELECT id FROM events"+c.where(), c.args...)
		if err != nil {
			return nil, fmt.Errorf("look for events in the log: %w", readError(ctx, err))
		}
		found, err := collect(rows, func(row scanner) (id string, err error) { return id, row.Scan(&id) })
		if err != nil {
			return nil, fmt.Errorf("look for events in the log: %w", readError(ctx, err))
		}
		for _, id := range found {
			known[id] = true
		}
	}
	return known, nil
}

// Homes answers the home keys of those of the ids that have a row.
func (s *Store) Homes(ctx context.Context, source string, ids []string) (map[string]event.Key, error) {
	homes := make(map[string]event.Key, len(ids))
	for part := range slices.Chunk(ids, queryIDs) {
		var c conditions
		c.add("e.source = ?", source)
		oneOf(&c, "e.id", part)
		rows, err := s.reads.QueryContext(ctx, homesSQL+c.where(), c.args...)
		if err != nil {
			return nil, fmt.Errorf("look for the homes of events: %w", readError(ctx, err))
		}
		_, err = collect(rows, func(row scanner) (none struct{}, err error) {
			home, id := event.Key{Source: source}, ""
			if err = row.Scan(&id, &home.Kind, local{&home}); err == nil {
				homes[id] = home
			}
			return none, err
		})
		if err != nil {
			return nil, fmt.Errorf("look for the homes of events: %w", readError(ctx, err))
		}
	}
	return homes, nil
}
