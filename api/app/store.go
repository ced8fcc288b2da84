package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// lateStore is a store that exists from the start and is unavailable until it is
// connected. Receiving webhooks needs Redis alone, so a database that is away must not
// keep the api from starting.
type lateStore struct {
	mu     sync.RWMutex
	opened storage.Store
	tie    tie
}

var errNotConnected = fate.New(fate.Unavailable, errors.New("the store is not connected yet"))

// connect opens the store, waits for it if it is away, checks that it and Redis are of
// one fleet, and closes it when ctx ends.
func (s *lateStore) connect(ctx context.Context, p *process.Process, streams *stream.Streams) error {
	store, err := p.Store(ctx)
	if err != nil {
		return err
	}
	defer p.Closing("store", store.Close)
	alerts, flush := p.Alerts()
	defer flush()
	keeper, err := p.Identity(ctx, streams, store, alerts, identity.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	s.tie.keeper.Store(keeper)
	s.mu.Lock()
	s.opened = store
	s.mu.Unlock()
	p.WarnOfUnconfigured(ctx, streams, store)
	keeper.Run(ctx)
	return nil
}

func (s *lateStore) store(ctx context.Context) (storage.Store, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.opened == nil {
		return nil, errNotConnected
	}
	if err := s.tie.check(ctx); err != nil {
		return nil, fate.New(fate.Unavailable, err)
	}
	return s.opened, nil
}

// ask reads from the store, if it is connected.
func ask[T any](ctx context.Context, s *lateStore, question func(storage.Store) (T, error)) (T, error) {
	store, err := s.store(ctx)
	if err != nil {
		var none T
		return none, err
	}
	return question(store)
}

// do calls the store, if it is connected.
func (s *lateStore) do(ctx context.Context, call func(storage.Store) error) error {
	store, err := s.store(ctx)
	if err != nil {
		return err
	}
	return call(store)
}

// Ping reports whether the database answers.
func (s *lateStore) Ping(ctx context.Context) error {
	return s.do(ctx, func(m storage.Store) error { return m.Ping(ctx) })
}

// Entity returns one document.
func (s *lateStore) Entity(ctx context.Context, k event.Key) (*storage.Document, error) {
	return ask(ctx, s, func(m storage.Store) (*storage.Document, error) { return m.Entity(ctx, k) })
}

// Namesakes returns the documents with one plain id.
func (s *lateStore) Namesakes(ctx context.Context, source, kind, id string, limit int) ([]*storage.Document, error) {
	return ask(ctx, s, func(m storage.Store) ([]*storage.Document, error) { return m.Namesakes(ctx, source, kind, id, limit) })
}

// Entities lists documents.
func (s *lateStore) Entities(ctx context.Context, f storage.EntityFilter) (storage.Page[*storage.Document], error) {
	return ask(ctx, s, func(m storage.Store) (storage.Page[*storage.Document], error) { return m.Entities(ctx, f) })
}

// EventByID returns the rows of one event.
func (s *lateStore) EventByID(ctx context.Context, source, id string) ([]*storage.EventRow, error) {
	return ask(ctx, s, func(m storage.Store) ([]*storage.EventRow, error) { return m.EventByID(ctx, source, id) })
}

// Events lists rows of the event log.
func (s *lateStore) Events(ctx context.Context, f storage.EventFilter) (storage.Page[*storage.EventRow], error) {
	return ask(ctx, s, func(m storage.Store) (storage.Page[*storage.EventRow], error) { return m.Events(ctx, f) })
}

// Passages returns how the newest events have fared.
func (s *lateStore) Passages(ctx context.Context, n int) ([]storage.Passage, error) {
	return ask(ctx, s, func(m storage.Store) ([]storage.Passage, error) { return m.Passages(ctx, n) })
}

// LetterByID returns one dead letter.
func (s *lateStore) LetterByID(ctx context.Context, id string) (*storage.LetterRecord, error) {
	return ask(ctx, s, func(m storage.Store) (*storage.LetterRecord, error) { return m.LetterByID(ctx, id) })
}

// Letters lists dead letters.
func (s *lateStore) Letters(ctx context.Context, f storage.LetterFilter) (storage.Page[*storage.LetterRecord], error) {
	return ask(ctx, s, func(m storage.Store) (storage.Page[*storage.LetterRecord], error) { return m.Letters(ctx, f) })
}

// CountEvents counts rows of the event log.
func (s *lateStore) CountEvents(ctx context.Context, f storage.EventFilter) (int64, error) {
	return ask(ctx, s, func(m storage.Store) (int64, error) { return m.CountEvents(ctx, f) })
}

// Acts lists what operators did.
func (s *lateStore) Acts(ctx context.Context, f storage.NoteFilter) (storage.Page[*storage.Note], error) {
	return ask(ctx, s, func(m storage.Store) (storage.Page[*storage.Note], error) { return m.Acts(ctx, f) })
}

// NoteByID returns a note.
func (s *lateStore) NoteByID(ctx context.Context, id string) (*storage.Note, error) {
	return ask(ctx, s, func(m storage.Store) (*storage.Note, error) { return m.NoteByID(ctx, id) })
}

// CountLetters counts dead letters.
func (s *lateStore) CountLetters(ctx context.Context, f storage.LetterFilter) (int64, error) {
	return ask(ctx, s, func(m storage.Store) (int64, error) { return m.CountLetters(ctx, f) })
}

// OpenLetters counts open dead letters by source.
func (s *lateStore) OpenLetters(ctx context.Context) (map[string]int64, error) {
	return ask(ctx, s, func(m storage.Store) (map[string]int64, error) { return m.OpenLetters(ctx) })
}

// Redriven closes dead letters whose work was appended again.
func (s *lateStore) Redriven(ctx context.Context, ids []string, by string, at time.Time) (int, error) {
	return ask(ctx, s, func(m storage.Store) (int, error) { return m.Redriven(ctx, ids, by, at) })
}

// Discard discards dead letters.
func (s *lateStore) Discard(ctx context.Context, ids []string, by, reason string, at time.Time) (int, error) {
	return ask(ctx, s, func(m storage.Store) (int, error) { return m.Discard(ctx, ids, by, reason, at) })
}

// Requeued notes the entries of open work.
func (s *lateStore) Requeued(ctx context.Context, again []storage.Requeue) error {
	return s.do(ctx, func(m storage.Store) error { return m.Requeued(ctx, again) })
}

// Discrepancies lists the findings of sweeps.
func (s *lateStore) Discrepancies(ctx context.Context, f storage.DiscrepancyFilter) (storage.Page[*storage.Discrepancy], error) {
	return ask(ctx, s, func(m storage.Store) (storage.Page[*storage.Discrepancy], error) { return m.Discrepancies(ctx, f) })
}

// CreateTasks adds tasks.
func (s *lateStore) CreateTasks(ctx context.Context, tasks []*storage.Task) error {
	return s.do(ctx, func(m storage.Store) error { return m.CreateTasks(ctx, tasks) })
}

// Task returns one task.
func (s *lateStore) Task(ctx context.Context, id string) (*storage.Task, error) {
	return ask(ctx, s, func(m storage.Store) (*storage.Task, error) { return m.Task(ctx, id) })
}

// Tasks lists tasks.
func (s *lateStore) Tasks(ctx context.Context, f storage.TaskFilter) (storage.Page[*storage.Task], error) {
	return ask(ctx, s, func(m storage.Store) (storage.Page[*storage.Task], error) { return m.Tasks(ctx, f) })
}

// CancelTask requests the end of a task.
func (s *lateStore) CancelTask(ctx context.Context, id string) (bool, error) {
	return ask(ctx, s, func(m storage.Store) (bool, error) { return m.CancelTask(ctx, id) })
}

// Note adds to the audit.
func (s *lateStore) Note(ctx context.Context, notes []storage.Note) error {
	return s.do(ctx, func(m storage.Store) error { return m.Note(ctx, notes) })
}

// Erase writes an entity's marker.
func (s *lateStore) Erase(ctx context.Context, ref event.Ref, marker storage.Marker) (*storage.Document, error) {
	return ask(ctx, s, func(m storage.Store) (*storage.Document, error) { return m.Erase(ctx, ref, marker) })
}

// Clear clears the records of an entity.
func (s *lateStore) Clear(ctx context.Context, k event.Key, after string, at time.Time) (storage.Cleared, error) {
	return ask(ctx, s, func(m storage.Store) (storage.Cleared, error) { return m.Clear(ctx, k, after, at) })
}

// Unerase removes a marker.
func (s *lateStore) Unerase(ctx context.Context, k, with event.Key) (bool, error) {
	return ask(ctx, s, func(m storage.Store) (bool, error) { return m.Unerase(ctx, k, with) })
}

// Enlist puts an act of erasing into the list.
func (s *lateStore) Enlist(ctx context.Context, e storage.Erasure) error {
	return s.do(ctx, func(m storage.Store) error { return m.Enlist(ctx, e) })
}

// Unlist removes an act of erasing from the list.
func (s *lateStore) Unlist(ctx context.Context, k event.Key) error {
	return s.do(ctx, func(m storage.Store) error { return m.Unlist(ctx, k) })
}

// Erasures returns the list of the acts of erasing.
func (s *lateStore) Erasures(ctx context.Context, seen int64) (list []storage.Erasure, version int64, err error) {
	err = s.do(ctx, func(m storage.Store) (err error) {
		list, version, err = m.Erasures(ctx, seen)
		return err
	})
	return list, version, err
}
