package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/storage"
)

// WriteLog is what a Writer needs of a store.
type WriteLog interface {
	Log
	AddBatch(ctx context.Context, b *storage.Batch) (bool, error)
}

// headGood is for how long a head that was read is built on. An older one might be of
// a database that was restored since; the batch would follow nothing, and every reader
// would have to read everything again.
const headGood = 100 * time.Millisecond

// ErrDetached is the error of a batch that was inserted where no reader comes: the
// database was restored meanwhile, or the place was trimmed.
var ErrDetached = errors.New("the batch is not in the chain that readers follow")

// ErrRestored is the error of an Add to a log that lacks what was known of it before: the
// database was restored from an older copy. A generation is to Begin.
var ErrRestored = errors.New("the log lacks batches that it had before: the database was restored from an older copy")

// Writer adds to the log of one source. Any number of them may do so at once. A Writer
// is for one goroutine.
type Writer struct {
	log    WriteLog
	source string
	now    func() time.Time
	head   *storage.Batch // nil: not known
	read   time.Time      // when it was read
	known  Cursor         // what the log has had for sure
}

// NewWriter returns a Writer of a source's log. now is the clock for what is written
// down.
func NewWriter(log WriteLog, source string, now func() time.Time) *Writer {
	return &Writer{log: log, source: source, now: now}
}

// Known returns how far the log has come, as far as the Writer knows.
func (w *Writer) Known() Cursor { return w.known }

// Know says that the log has had a batch. It must have been learned before the Writer
// reads the log next.
func (w *Writer) Know(c Cursor) { w.known = c }

// Begun reads the head, and reports whether there is one. The error is ErrRestored if the
// log lacks what it had before.
func (w *Writer) Begun(ctx context.Context) (bool, error) {
	lacks, err := w.lacks(ctx, w.known)
	switch {
	case err != nil:
		return false, err
	case lacks:
		return w.head != nil, ErrRestored
	}
	if w.head != nil {
		w.known = At(w.head)
	}
	return w.head != nil, nil
}

// readHead reads the newest batch, nil if there is none.
func (w *Writer) readHead(ctx context.Context) (*storage.Batch, error) {
	begun := time.Now()
	head, err := w.log.FeedHead(ctx, w.source)
	if errors.Is(err, storage.ErrNotFound) {
		head, err = nil, nil
	}
	w.head, w.read = head, begun
	return head, err
}

// Begin adds a batch without items that begins a generation, behind the head that was
// read last. False: there is another head by now.
func (w *Writer) Begin(ctx context.Context, reason string) (bool, error) {
	b := &storage.Batch{Source: w.source, First: 1, Len: 1, Gen: newTag(), Reason: reason}
	if w.head != nil {
		b.First, b.Prev = w.head.Next(), w.head.Tag
	}
	return w.add(ctx, b)
}

// Add adds items, each entity once and at most storage.MaxItems, behind the head, and
// returns the batch. There must be a head. After an error nothing is known of the items:
// to add them again is safe.
func (w *Writer) Add(ctx context.Context, items []storage.Item) (*storage.Batch, error) {
	for {
		if w.head == nil || time.Since(w.read) > headGood {
			if begun, err := w.Begun(ctx); err != nil {
				return nil, err
			} else if !begun {
				return nil, ErrRestored // it had one
			}
		}
		b := &storage.Batch{
			Source: w.source, First: w.head.Next(), Len: int64(len(items)), Gen: w.head.Gen, Prev: w.head.Tag, Items: items,
		}
		if added, err := w.add(ctx, b); err != nil || added {
			return b, err
		}
		w.head = nil // another has added one
	}
}

// add inserts a batch and makes sure that readers find it.
func (w *Writer) add(ctx context.Context, b *storage.Batch) (added bool, err error) {
	b.Tag, b.At = newTag(), w.now().UTC()
	if added, err = w.log.AddBatch(ctx, b); err != nil {
		w.head = nil
	}
	if err != nil || !added {
		return false, err
	}
	fault.Point("after-insert")
	head, err := w.readHead(ctx)
	linked := false
	if err == nil {
		linked, err = w.linked(ctx, b, head)
	}
	if err == nil && !linked {
		err = fmt.Errorf("position %d of the feed of %s: %w", b.First, w.source, ErrDetached)
	}
	if err != nil {
		w.head = nil
		return false, err
	}
	w.known = At(head)
	return true, nil
}

// linked reports whether a batch is the head, or the one behind it names it.
func (w *Writer) linked(ctx context.Context, b, head *storage.Batch) (bool, error) {
	if head == nil || head.First <= b.First {
		return head != nil && head.First == b.First && head.Tag == b.Tag, nil
	}
	found, err := w.log.Batches(ctx, w.source, b.First, 2)
	if err != nil || len(found) < 2 {
		return false, err
	}
	return found[0].Tag == b.Tag && found[1].First == b.Next() && found[1].Prev == b.Tag, nil
}

// lacks reads the head, and reports whether the log lacks the batch that a cursor is at.
func (w *Writer) lacks(ctx context.Context, c Cursor) (bool, error) {
	head, err := w.readHead(ctx)
	if err != nil {
		return false, err
	}
	return lacks(ctx, w.log, w.source, c, head)
}

// newTag returns a random text of capital letters and digits.
func newTag() string { return rand.Text()[:12] }
