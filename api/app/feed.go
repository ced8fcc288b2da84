package app

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// FeedHead returns the newest batch of a source's feed.
func (s *lateStore) FeedHead(ctx context.Context, source string) (*storage.Batch, error) {
	return ask(ctx, s, func(m storage.Store) (*storage.Batch, error) { return m.FeedHead(ctx, source) })
}

// FeedTail returns the oldest batch of a source's feed.
func (s *lateStore) FeedTail(ctx context.Context, source string) (*storage.Batch, error) {
	return ask(ctx, s, func(m storage.Store) (*storage.Batch, error) { return m.FeedTail(ctx, source) })
}

// Batches returns batches of a source's feed from a position.
func (s *lateStore) Batches(ctx context.Context, source string, position int64, limit int) ([]*storage.Batch, error) {
	return ask(ctx, s, func(m storage.Store) ([]*storage.Batch, error) { return m.Batches(ctx, source, position, limit) })
}

// Walk returns fetched documents of a kind by id.
func (s *lateStore) Walk(ctx context.Context, source, kind, after string, limit int) ([]*storage.Document, error) {
	return ask(ctx, s, func(m storage.Store) ([]*storage.Document, error) { return m.Walk(ctx, source, kind, after, limit) })
}

// Documents returns documents by their keys.
func (s *lateStore) Documents(ctx context.Context, keys []event.Key) ([]*storage.Document, error) {
	return ask(ctx, s, func(m storage.Store) ([]*storage.Document, error) { return m.Documents(ctx, keys) })
}

// WatchFeed rings for what is added to a source's feed.
func (s *lateStore) WatchFeed(ctx context.Context, source string, ring func()) error {
	return s.do(ctx, func(m storage.Store) error { return m.WatchFeed(ctx, source, ring) })
}

// SaveSubscriptions saves how far consumers are.
func (s *lateStore) SaveSubscriptions(ctx context.Context, subs []storage.Subscription) error {
	return s.do(ctx, func(m storage.Store) error { return m.SaveSubscriptions(ctx, subs) })
}

// Subscriptions lists how far consumers are.
func (s *lateStore) Subscriptions(ctx context.Context) ([]storage.Subscription, error) {
	return ask(ctx, s, func(m storage.Store) ([]storage.Subscription, error) { return m.Subscriptions(ctx) })
}

// TrimSubscriptions removes old ones.
func (s *lateStore) TrimSubscriptions(ctx context.Context, before time.Time) (int, error) {
	return ask(ctx, s, func(m storage.Store) (int, error) { return m.TrimSubscriptions(ctx, before) })
}
