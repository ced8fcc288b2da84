package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

// The names of the lists, as in cursors.
const (
	entitiesList = "entities"
	eventsList   = "events"
)

// Entity returns one document, or storage.ErrNotFound.
func (s *Store) Entity(ctx context.Context, k event.Key) (*storage.Document, error) {
	row := s.reads.QueryRowContext(ctx,
		"SELECT "+documentColumns+" FROM mirror WHERE source = ?1 AND kind = ?2 AND id = ?3", k.Source, k.Kind, k.Local())
	doc, err := scanDocument(row)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read %s: %w", k, storage.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", k, readError(ctx, err))
	}
	return doc, nil
}

// Namesakes returns the fetched documents that have a plain id under qualifiers.
func (s *Store) Namesakes(ctx context.Context, source, kind, id string, limit int) ([]*storage.Document, error) {
	if err := checkKeys(event.Key{Source: source, Kind: kind, ID: id}); err != nil {
		return nil, err
	}
	from, to := event.Namesakes(id)
	rows, err := s.reads.QueryContext(ctx,
		"SELECT "+documentColumns+" FROM mirror INDEXED BY "+mirrorByID+
			" WHERE source = ? AND kind = ? AND id >= ? AND id < ? AND synced_claim <> 0 ORDER BY id LIMIT ?",
		source, kind, from, to, max(limit, 1))
	if err != nil {
		return nil, fmt.Errorf("look for %s/%s/%s under its parents: %w", source, kind, id, readError(ctx, err))
	}
	docs, err := collect(rows, scanDocument)
	if err != nil {
		return nil, fmt.Errorf("look for %s/%s/%s under its parents: %w", source, kind, id, readError(ctx, err))
	}
	return docs, nil
}

// conditions collects the terms of a WHERE clause and their values.
type conditions struct {
	terms []string
	args  []any
	// by names the index that the rows are found by. The planner knows nothing
	// of how many rows a value has, and now and then chooses one by which it
	// would read, and sort, far too many. "": it may choose.
	by string
	// within is what gives the rows of a page of events in order, instead of an
	// index of theirs, and its values.
	within     string
	withinArgs []any
}

// through is the clause that names the index.
func (c *conditions) through() string {
	if c.by == "" {
		return ""
	}
	return " INDEXED BY " + c.by
}

func (c *conditions) add(term string, args ...any) {
	c.terms = append(c.terms, term)
	c.args = append(c.args, args...)
}

func (c *conditions) where() string {
	if len(c.terms) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.terms, " AND ")
}

// Entities lists documents of one source and kind by id.
func (s *Store) Entities(ctx context.Context, f storage.EntityFilter) (storage.Page[*storage.Document], error) {
	var none storage.Page[*storage.Document]
	after, ok, err := page.Parse(entitiesList, f.Cursor)
	if err != nil {
		return none, err
	}
	var c conditions
	from, id := "mirror", "id"
	if f.Parent.Kind == "" {
		c.add("source = ? AND kind = ?", f.Source, f.Kind)
	} else {
		// The children of a parent by id, and then each of them: CROSS keeps the order.
		from = "mirror_parents CROSS JOIN mirror ON source = of_source AND kind = of_kind AND id = of_id"
		c.add("of_source = ? AND of_kind = ? AND parent = ? AND parent_id = ?", f.Source, f.Kind, f.Parent.Kind, f.Parent.ID)
		id = "of_id"
	}
	c.add("synced_claim > 0")
	if f.Status != "" {
		c.add("status = ? AND status <> ''", f.Status) // as mirror_status has it
	}
	if !f.From.IsZero() {
		c.add("synced_at >= ?", millis(f.From))
	}
	if !f.To.IsZero() {
		c.add("synced_at < ?", millis(f.To))
	}
	if ok {
		c.add(id+" > ?", after.ID)
	}
	size := page.Size(f.Limit)
	rows, err := s.reads.QueryContext(ctx,
		"SELECT "+documentColumns+" FROM "+from+c.where()+" ORDER BY "+id+" LIMIT ?", append(c.args, size+1)...)
	if err != nil {
		return none, fmt.Errorf("list %s/%s: %w", f.Source, f.Kind, readError(ctx, err))
	}
	docs, err := collect(rows, scanDocument)
	if err != nil {
		return none, fmt.Errorf("list %s/%s: %w", f.Source, f.Kind, readError(ctx, err))
	}
	return page.Cut(docs, size, func(d *storage.Document) page.Place {
		return page.Place{List: entitiesList, ID: d.Key.Local()}
	}), nil
}

// readError is classify for queries: those end with their caller's context,
// which SQLite reports as an interruption.
func readError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return classify(err)
}

// collect reads all rows and closes them.
func collect[T any](rows *sql.Rows, scan func(scanner) (T, error)) (out []T, err error) {
	defer rows.Close()
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}
