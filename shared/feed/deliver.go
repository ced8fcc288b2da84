package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Rows is what the changes of items are read from.
type Rows interface {
	Documents(ctx context.Context, keys []event.Key) ([]*storage.Document, error)
	Commands() storage.Commands
}

// ErrOlder is the error of a document or command that is older than the log says, so that
// what consumers have exists no more.
var ErrOlder = errors.New("the database is older than the feed: it was restored from an older copy")

// States are the documents and commands of items, as they were when they were read.
type States struct {
	docs     map[event.Key]*storage.Document
	commands map[string]*storage.Command
}

// ReadStates reads what items are about: documents in one call, and commands in another if
// there are any.
func ReadStates(ctx context.Context, rows Rows, keys []event.Key) (*States, error) {
	s := &States{docs: make(map[event.Key]*storage.Document, len(keys)), commands: map[string]*storage.Command{}}
	var entities []event.Key
	var ids []string
	for _, k := range keys {
		if _, ok := storage.CommandOfItem(k); ok {
			ids = append(ids, k.ID)
		} else {
			entities = append(entities, k)
		}
	}
	if len(entities) > 0 {
		found, err := rows.Documents(ctx, entities)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			s.docs[d.Key] = d
		}
	}
	if len(ids) > 0 {
		found, err := rows.Commands().Named(ctx, ids)
		if err != nil {
			return nil, err
		}
		for _, c := range found {
			s.commands[c.ID] = c
		}
	}
	return s, nil
}

// Document returns the document of an entity, nil if there is none.
func (s *States) Document(k event.Key) *storage.Document { return s.docs[k] }

// Change makes the change of an item, and returns its version. The error is ErrOlder if that
// would be lower than the item's. Commands are kept for longer than the feed (see the setting
// retention.commands), so one that is not there is of a later time than the database.
func (s *States) Change(item storage.Item, view View, at time.Time) (*Change, int64, error) {
	version := item.Version
	var c *Change
	if _, ok := storage.CommandOfItem(item.Key); ok {
		if version = 0; s.commands[item.Key.ID] != nil {
			version = s.commands[item.Key.ID].Rev
			c = newCommandChange(item.Key, s.commands[item.Key.ID], view, at)
		}
	} else {
		d := s.docs[item.Key]
		if d != nil && d.Known() {
			version = d.Version
		}
		c = NewChange(item.Key, d, item.Version, at)
	}
	if version < item.Version {
		return nil, 0, fmt.Errorf("%s has version %d, and the feed version %d: %w", Subject(item.Key), version, item.Version, ErrOlder)
	}
	return c, version, nil
}

// Delivered is a change with its place.
type Delivered struct {
	*Change
	// Cursor is behind it.
	Cursor Cursor
}

// Changes reads the documents and commands of entries as they are now. Of an entity or
// command that several entries name, the last place is kept: all would have the same state.
// So versions of a subject do not decrease along the log, if no part of it is delivered by
// an older read than the part before it.
//
// The error is ErrOlder if the store does not hold what the log says.
func Changes(ctx context.Context, rows Rows, view View, entries []Entry) ([]Delivered, error) {
	entries = newestOf(entries)
	if len(entries) == 0 {
		return nil, nil
	}
	keys := make([]event.Key, len(entries))
	for i, e := range entries {
		keys[i] = e.Key
	}
	states, err := ReadStates(ctx, rows, keys)
	if err != nil {
		return nil, err
	}
	out := make([]Delivered, len(entries))
	for i, e := range entries {
		c, _, err := states.Change(e.Item, view, e.At)
		if err != nil {
			return nil, err
		}
		if d := states.Document(e.Key); fault.Off("feed-live") && d != nil { // the item carries what was so when it was added
			was := *d
			was.Version = e.Version
			c = NewChange(e.Key, &was, e.Version, e.At)
		}
		c.Sequence = fmt.Sprintf("%020d", e.Cursor.Position)
		out[i] = Delivered{c, e.Cursor}
	}
	return out, nil
}

// newestOf leaves out entries whose subject comes again later in the same part: both would
// be delivered with the same state.
func newestOf(entries []Entry) []Entry {
	last := make(map[event.Key]int, len(entries))
	for i, e := range entries {
		last[e.Key] = i
	}
	kept := entries[:0:0]
	for i, e := range entries {
		if last[e.Key] == i {
			kept = append(kept, e)
		}
	}
	return kept
}
