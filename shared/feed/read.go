package feed

import (
	"context"
	"errors"
	"time"

	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Log is what a reader needs of a store.
type Log interface {
	FeedHead(ctx context.Context, source string) (*storage.Batch, error)
	FeedTail(ctx context.Context, source string) (*storage.Batch, error)
	Batches(ctx context.Context, source string, position int64, limit int) ([]*storage.Batch, error)
}

// Entry is an item with its place.
type Entry struct {
	storage.Item
	// Cursor is behind the item.
	Cursor Cursor
	// At is when the item was added.
	At time.Time
}

// Page is a part of the log.
type Page struct {
	Entries []Entry
	// Next is where to go on. It moves over batches without items too.
	Next Cursor
	// More: there is more behind Next.
	More bool
}

// Head returns the cursor behind all that is in the log of a source: zero if nothing is.
func Head(ctx context.Context, log Log, source string) (Cursor, error) {
	b, err := log.FeedHead(ctx, source)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return Cursor{}, nil
	case err != nil:
		return Cursor{}, err
	}
	return At(b), nil
}

// Lacks reports whether the log of a source lacks the batch that a cursor is at, other than
// by trimming: then the database was restored from an older copy. No log lacks the zero
// cursor.
func Lacks(ctx context.Context, log Log, source string, c Cursor) (bool, error) {
	if c == (Cursor{}) {
		return false, nil
	}
	head, err := log.FeedHead(ctx, source)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return false, err
	}
	return lacks(ctx, log, source, c, head)
}

// lacks is Lacks with the newest batch there is, nil if there is none.
func lacks(ctx context.Context, log Log, source string, c Cursor, head *storage.Batch) (bool, error) {
	switch {
	case c == Cursor{}:
		return false, nil
	case head == nil:
		return true, nil
	case At(head) == c:
		return false, nil
	case head.Last() < c.Position:
		return true, nil
	}
	found, err := log.Batches(ctx, source, c.Position, 1)
	if err != nil || len(found) == 0 {
		return err == nil, err
	}
	if found[0].First <= c.Position {
		return found[0].Tag != c.Tag, nil
	}
	tail, err := log.FeedTail(ctx, source)
	return err == nil && tail.First < found[0].First, err // else it was trimmed
}

// batchesAtOnce is how many batches are read at once. Each has up to 1,000 items.
const batchesAtOnce = 10

// Read returns up to limit entries behind a cursor, in the order of their positions. The
// error is a *Gone if the cursor is not good, or what follows it does not follow.
func Read(ctx context.Context, log Log, source string, after Cursor, limit int) (Page, error) {
	batches, err := log.Batches(ctx, source, after.Position+1, batchesAtOnce)
	if err != nil {
		return Page{}, err
	}
	if len(batches) == 0 {
		return Page{Next: after}, checkEnd(ctx, log, source, after)
	}
	p := Page{Next: after}
	for _, b := range batches {
		if !follows(p.Next, b) {
			if p.Next != after {
				p.More = true
				return p, nil // the next call says so
			}
			return Page{}, gone(ctx, log, source, after, b)
		}
		if len(b.Items) == 0 {
			p.Next = At(b)
			continue
		}
		for i := max(0, p.Next.Position+1-b.First); i < int64(len(b.Items)); i++ {
			if len(p.Entries) == limit {
				p.More = true
				return p, nil
			}
			p.Next = Cursor{b.Gen, b.First + i, b.Tag}
			p.Entries = append(p.Entries, Entry{Item: b.Items[i], Cursor: p.Next, At: b.At})
		}
	}
	p.More = len(batches) == batchesAtOnce
	return p, nil
}

// follows reports whether a batch holds the position behind a cursor, and is what came
// next when the cursor was given out: its own batch, or the one that names it.
func follows(after Cursor, b *storage.Batch) bool {
	if fault.Off("feed-tags") {
		return true // whatever comes next is taken
	}
	if after.Gen != b.Gen && after.Gen != "" {
		return false
	}
	if b.First == after.Position+1 {
		return b.Prev == after.Tag
	}
	return b.First <= after.Position && b.Tag == after.Tag
}

// checkEnd returns an error unless the cursor is behind all that is in the log.
func checkEnd(ctx context.Context, log Log, source string, after Cursor) error {
	head, err := Head(ctx, log, source)
	if err == nil && head.Position > after.Position {
		return nil // it has grown meanwhile
	}
	if err == nil && head != after && !fault.Off("feed-tags") {
		return gone(ctx, log, source, after, nil)
	}
	return err
}

// gone says why a cursor is not good. instead is what was found behind it, nil: nothing.
func gone(ctx context.Context, log Log, source string, c Cursor, instead *storage.Batch) error {
	tail, err := log.FeedTail(ctx, source)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	e := &Gone{Cursor: c, Reason: Restored}
	if tail == nil || instead == nil {
		return e // the log ends before it
	}
	if e.Oldest = tail.First - 1; c.Position < e.Oldest && (c.Gen == instead.Gen || c.Gen == "") {
		e.Reason = Retention
	}
	return e
}
