package api

import (
	"context"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// fakeErasing is what fakeStore keeps of erasures.
type fakeErasing struct {
	list    []storage.Erasure
	cleared []event.Key
}

func (s *fakeStore) Erase(_ context.Context, ref event.Ref, m storage.Marker) (*storage.Document, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	doc := s.docs[ref.Key]
	if doc == nil {
		doc = &storage.Document{Key: ref.Key, Parents: ref.Parents}
	}
	if doc.Erased == nil || !doc.Erased.With.IsZero() && m.With.IsZero() {
		doc = &storage.Document{Key: doc.Key, Parents: doc.Parents, Claim: doc.Claim + 1, SyncedClaim: storage.ErasedClaim, Erased: &m}
	}
	if s.docs == nil {
		s.docs = map[event.Key]*storage.Document{}
	}
	s.docs[ref.Key] = doc
	return doc, nil
}

func (s *fakeStore) Clear(_ context.Context, k event.Key, _ string, _ time.Time) (storage.Cleared, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erasing.cleared = append(s.erasing.cleared, k)
	return storage.Cleared{}, nil
}

func (s *fakeStore) Unerase(_ context.Context, k, with event.Key) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	doc := s.docs[k]
	if doc == nil || doc.Erased == nil || doc.Erased.With != with {
		return false, nil
	}
	s.docs[k] = &storage.Document{Key: k, Parents: doc.Parents, Claim: doc.Claim + 1}
	return true, nil
}

func (s *fakeStore) Enlist(_ context.Context, e storage.Erasure) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erasing.list = append(s.erasing.list, e)
	return nil
}

func (s *fakeStore) Unlist(_ context.Context, k event.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.erasing.list = slices.DeleteFunc(s.erasing.list, func(e storage.Erasure) bool { return e.Key == k || e.With == k })
	return nil
}

func (s *fakeStore) Erasures(context.Context, int64) ([]storage.Erasure, int64, error) {
	if err := s.enter(); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.erasing.list), 1, nil
}
