package app

import (
	"context"
	"errors"
	"sync"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/process"
)

// lateStore is the store as the api sees it: there from the first moment, and
// unavailable until it is connected. Webhooks are taken with Redis alone, so a
// database that is away must not keep the api from starting.
type lateStore struct {
	mu     sync.RWMutex
	opened mirror.Store
}

var errNotConnected = fate.New(fate.Unavailable, errors.New("the store is not connected yet"))

// connect opens the store, waiting for it if it is away, and closes it when
// ctx ends.
func (s *lateStore) connect(ctx context.Context, p *process.Process) error {
	store, err := p.Store(ctx)
	if err != nil {
		return err
	}
	defer p.Closing("store", store.Close)
	s.mu.Lock()
	s.opened = store
	s.mu.Unlock()
	<-ctx.Done()
	return nil
}

func (s *lateStore) store() (mirror.Store, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.opened == nil {
		return nil, errNotConnected
	}
	return s.opened, nil
}

// Ping reports whether the database answers.
func (s *lateStore) Ping(ctx context.Context) error {
	store, err := s.store()
	if err != nil {
		return err
	}
	return store.Ping(ctx)
}

// Entity returns one document.
func (s *lateStore) Entity(ctx context.Context, k event.Key) (*mirror.Document, error) {
	store, err := s.store()
	if err != nil {
		return nil, err
	}
	return store.Entity(ctx, k)
}

// Entities lists documents.
func (s *lateStore) Entities(ctx context.Context, f mirror.EntityFilter) (mirror.Page[*mirror.Document], error) {
	store, err := s.store()
	if err != nil {
		return mirror.Page[*mirror.Document]{}, err
	}
	return store.Entities(ctx, f)
}

// EventByID returns the rows of one event.
func (s *lateStore) EventByID(ctx context.Context, source, id string) ([]*mirror.EventRow, error) {
	store, err := s.store()
	if err != nil {
		return nil, err
	}
	return store.EventByID(ctx, source, id)
}

// Events lists rows of the event log.
func (s *lateStore) Events(ctx context.Context, f mirror.EventFilter) (mirror.Page[*mirror.EventRow], error) {
	store, err := s.store()
	if err != nil {
		return mirror.Page[*mirror.EventRow]{}, err
	}
	return store.Events(ctx, f)
}
