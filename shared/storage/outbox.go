package storage

import "context"

// OutboxRow is a change that an application asks for by a row of its own, in the
// transaction in which it changes its own data. Nothing but an application adds rows.
type OutboxRow struct {
	// Handle names the row for RemoveOutbox.
	Handle []byte
	// Key is the row's own id, which is the key of the command.
	Key string
	// Source, Kind, Op, Ref, ID, Parents, Body and Bulk are as in a Command, and not
	// checked. Of Ref and ID one is given.
	Source, Kind, Op, Ref, ID string
	Parents                   map[string]string
	Body                      []byte
	Bulk                      bool
	// Seq orders rows before Key does. Rows without one have 0.
	Seq int64
	// Problem says why the row cannot be read as one. "": it can. What can be read of it
	// is in the other fields.
	Problem string
}

// Outbox is the part of Store that applications write to.
type Outbox interface {
	// OutboxRows returns up to limit rows of a source, in the order of Seq and Key.
	OutboxRows(ctx context.Context, source string, limit int) ([]OutboxRow, error)
	// RemoveOutbox removes a row by its handle. One that is not there is no error.
	RemoveOutbox(ctx context.Context, handle []byte) error
	// CountOutbox counts the rows of a source, up to most.
	CountOutbox(ctx context.Context, source string, most int) (int, error)
	// OutboxSources names the sources that have rows, in order and up to most. "" stands for
	// rows whose source is no text.
	OutboxSources(ctx context.Context, most int) ([]string, error)
	// WatchOutbox calls ring once it listens and when rows may have been added, until ctx
	// ends or it breaks off; see Bell. It may miss some. It returns ErrNoBell at once
	// where the database does not tell of changes.
	WatchOutbox(ctx context.Context, ring func()) error
}
