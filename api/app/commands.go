package app

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// lateCommands are the commands of a lateStore. Every method is written out, so that none
// is called on a store that is not connected.
type lateCommands struct{ store *lateStore }

// Commands returns the part of the store that keeps commands.
func (s *lateStore) Commands() storage.Commands { return lateCommands{s} }

// Ask adds a command.
func (l lateCommands) Ask(ctx context.Context, c *storage.Command) (*storage.Command, error) {
	return ask(ctx, l.store, func(m storage.Store) (*storage.Command, error) { return m.Commands().Ask(ctx, c) })
}

// Command returns one command.
func (l lateCommands) Command(ctx context.Context, id string) (*storage.Command, error) {
	return ask(ctx, l.store, func(m storage.Store) (*storage.Command, error) { return m.Commands().Command(ctx, id) })
}

// List lists commands.
func (l lateCommands) List(ctx context.Context, f storage.CommandFilter) (storage.Page[*storage.Command], error) {
	return ask(ctx, l.store, func(m storage.Store) (storage.Page[*storage.Command], error) { return m.Commands().List(ctx, f) })
}

// Move stores a command that has not changed.
func (l lateCommands) Move(ctx context.Context, c *storage.Command) (bool, error) {
	return ask(ctx, l.store, func(m storage.Store) (bool, error) { return m.Commands().Move(ctx, c) })
}

// Open returns the commands of a lane that are not final.
func (l lateCommands) Open(ctx context.Context, lane event.Key, limit int) ([]*storage.Command, error) {
	return ask(ctx, l.store, func(m storage.Store) ([]*storage.Command, error) { return m.Commands().Open(ctx, lane, limit) })
}

// Defer makes queued commands due later.
func (l lateCommands) Defer(ctx context.Context, lane event.Key, n int64, until time.Time) error {
	return l.store.do(ctx, func(m storage.Store) error { return m.Commands().Defer(ctx, lane, n, until) })
}

// Forward moves a command to another lane.
func (l lateCommands) Forward(ctx context.Context, c *storage.Command, lane event.Key) (bool, error) {
	return ask(ctx, l.store, func(m storage.Store) (bool, error) { return m.Commands().Forward(ctx, c, lane) })
}

// Due returns the commands that are due.
func (l lateCommands) Due(ctx context.Context, source string, now time.Time, limit int, cursor string) (due []storage.DueCommand, next string, err error) {
	err = l.store.do(ctx, func(m storage.Store) (err error) {
		due, next, err = m.Commands().Due(ctx, source, now, limit, cursor)
		return err
	})
	return due, next, err
}

// Hold holds the commands of a source.
func (l lateCommands) Hold(ctx context.Context, h storage.CommandHold) error {
	return l.store.do(ctx, func(m storage.Store) error { return m.Commands().Hold(ctx, h) })
}

// Release ends the hold of a source.
func (l lateCommands) Release(ctx context.Context, source string) (*storage.CommandHold, error) {
	return ask(ctx, l.store, func(m storage.Store) (*storage.CommandHold, error) { return m.Commands().Release(ctx, source) })
}

// Holds returns all holds.
func (l lateCommands) Holds(ctx context.Context) ([]storage.CommandHold, error) {
	return ask(ctx, l.store, func(m storage.Store) ([]storage.CommandHold, error) { return m.Commands().Holds(ctx) })
}

// Named returns the commands of ids.
func (l lateCommands) Named(ctx context.Context, ids []string) ([]*storage.Command, error) {
	return ask(ctx, l.store, func(m storage.Store) ([]*storage.Command, error) { return m.Commands().Named(ctx, ids) })
}

// Owed returns the commands that are owed to the feed.
func (l lateCommands) Owed(ctx context.Context, source, after string, limit int) ([]storage.Item, error) {
	return ask(ctx, l.store, func(m storage.Store) ([]storage.Item, error) { return m.Commands().Owed(ctx, source, after, limit) })
}

// Paid notes which commands are in the feed.
func (l lateCommands) Paid(ctx context.Context, items []storage.Item) (int, error) {
	return ask(ctx, l.store, func(m storage.Store) (int, error) { return m.Commands().Paid(ctx, items) })
}

// Ref returns the address of a lane.
func (l lateCommands) Ref(ctx context.Context, lane event.Key) (*storage.Ref, error) {
	return ask(ctx, l.store, func(m storage.Store) (*storage.Ref, error) { return m.Commands().Ref(ctx, lane) })
}

// RefTo returns a ref that names an entity.
func (l lateCommands) RefTo(ctx context.Context, entity event.Key) (*storage.Ref, error) {
	return ask(ctx, l.store, func(m storage.Store) (*storage.Ref, error) { return m.Commands().RefTo(ctx, entity) })
}

// Bind has a ref name an entity, unless it names one.
func (l lateCommands) Bind(ctx context.Context, r storage.Ref) (*storage.Ref, error) {
	return ask(ctx, l.store, func(m storage.Store) (*storage.Ref, error) { return m.Commands().Bind(ctx, r) })
}

// Rebind has a ref name another entity.
func (l lateCommands) Rebind(ctx context.Context, r storage.Ref) (*storage.Ref, error) {
	return ask(ctx, l.store, func(m storage.Store) (*storage.Ref, error) { return m.Commands().Rebind(ctx, r) })
}

// Counts counts the commands that are not over.
func (l lateCommands) Counts(ctx context.Context) (*storage.CommandCounts, error) {
	return ask(ctx, l.store, func(m storage.Store) (*storage.CommandCounts, error) { return m.Commands().Counts(ctx) })
}
