package sqlite

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

// batchSize bounds the parts of one change that is made in the background, so
// that those who wait for their turn behind it wait only briefly.
const batchSize = 500

// batch makes a change of n parts; of none, it is done already. doing names it
// in errors.
func (s *Store) batch(ctx context.Context, doing string, n int, do func(*tx) error) error {
	if n == 0 {
		return nil
	}
	if err := s.writer.change(ctx, do); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

// equal selects by a value, unless it is empty.
func (c *conditions) equal(column, value string) {
	if value != "" {
		c.add(column+" = ?", value)
	}
}

// between selects from ≤ column < to; a zero time sets no bound.
func (c *conditions) between(column string, from, to time.Time) {
	if !from.IsZero() {
		c.add(column+" >= ?", millis(from))
	}
	if !to.IsZero() {
		c.add(column+" < ?", millis(to))
	}
}

// oneOf selects by any of the values; none select all.
func oneOf[T ~string](c *conditions, column string, values []T) {
	if len(values) == 0 {
		return
	}
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = string(v)
	}
	c.add(column+" IN ("+marks(len(args))+")", args...)
}

// marks are n placeholders.
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }

// newestFirst is a list ordered by a time, then by id, both descending.
type newestFirst[T any] struct {
	list           string // its name in cursors
	columns, table string
	time           string // column
	scan           func(scanner) (T, error)
	place          func(T) page.Place
}

// list reads one page.
func list[T any](ctx context.Context, s *Store, l newestFirst[T], c conditions, limit int, cursor string) (storage.Page[T], error) {
	var none storage.Page[T]
	after, ok, err := page.Parse(l.list, cursor)
	if err != nil {
		return none, err
	}
	if ok {
		c.add("("+l.time+", id) < (?, ?)", after.At, after.ID)
	}
	size := page.Size(limit)
	rows, err := s.reads.QueryContext(ctx, "SELECT "+l.columns+" FROM "+l.table+c.through()+c.where()+
		" ORDER BY "+l.time+" DESC, id DESC LIMIT ?", append(c.args, size+1)...)
	if err != nil {
		return none, fmt.Errorf("list %s: %w", l.list, readError(ctx, err))
	}
	items, err := collect(rows, l.scan)
	if err != nil {
		return none, fmt.Errorf("list %s: %w", l.list, readError(ctx, err))
	}
	return page.Cut(items, size, func(v T) page.Place {
		p := l.place(v)
		p.List = l.list
		return p
	}), nil
}
