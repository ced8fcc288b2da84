package storage

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// MaxItems is how many items a batch of the feed has at most.
const MaxItems = 1000

// Item says that an entity has a version. It carries no state: who delivers it
// reads the document then, which may have a later version.
type Item struct {
	Key     event.Key
	Version int64
}

// Batch is a part of the feed of one source, which is a log of batches that
// follow each other without a gap: package feed says why. A batch never changes.
type Batch struct {
	Source string
	// First is the position of its first item, from 1, and Len how many positions
	// it takes: one for each item, or one if it has none.
	First, Len int64
	// Gen names the generation, which is the same until the database is found to
	// have been restored from an older copy. Reason is why this batch begins one, ""
	// if it does not.
	Gen, Reason string
	// Tag is random, Prev the tag of the batch before. Prev is "" in the first.
	Tag, Prev string
	// At is when it was made.
	At time.Time
	// Items are of one source, at most MaxItems, each entity once.
	Items []Item
}

// Next returns the position behind the batch.
func (b *Batch) Next() int64 { return b.First + b.Len }

// Last returns the last position of the batch.
func (b *Batch) Last() int64 { return b.Next() - 1 }

// FeedReader is the part of Store that delivers the feed.
type FeedReader interface {
	// FeedHead returns the newest batch of a source, without its items, or
	// ErrNotFound.
	FeedHead(ctx context.Context, source string) (*Batch, error)
	// FeedTail returns the oldest batch of a source, without its items, or
	// ErrNotFound.
	FeedTail(ctx context.Context, source string) (*Batch, error)
	// Batches returns up to limit batches, at most 100, in the order of their
	// positions. The first is the one that holds the position, or, if none does, the
	// one with the next higher position. None: there is no such position yet. Whether
	// they follow each other is for the caller to check.
	Batches(ctx context.Context, source string, position int64, limit int) ([]*Batch, error)
	// Walk returns up to limit fetched documents of a kind, at most 1,000, in the order
	// of their ids (event.Key.Local), those with a greater id than after. "" begins with
	// the first. Deleted ones are among them.
	Walk(ctx context.Context, source, kind, after string, limit int) ([]*Document, error)
	// Documents returns the documents of the keys that the mirror holds, those
	// never fetched included, in no order.
	Documents(ctx context.Context, keys []event.Key) ([]*Document, error)
	// WatchFeed calls ring once it listens and when batches of a source may have been
	// added, until ctx ends or it breaks off; see Bell. It may miss some. It returns
	// ErrNoBell at once where the database does not tell of changes.
	WatchFeed(ctx context.Context, source string, ring func()) error
}

// Feed is the part of Store that keeps the change feed. A document whose Version is
// higher than its Fed is a debt: its last change is not in the feed yet.
type Feed interface {
	FeedReader

	// AddBatch inserts a batch. False: its first position is taken, so nothing was
	// inserted. Of several callers with one position one succeeds.
	AddBatch(ctx context.Context, b *Batch) (bool, error)
	// Fed sets the Fed of documents to the version of their item, if that is still
	// their version, and returns how many have it since. A document that has changed
	// meanwhile, or was restored to an older version, is left.
	Fed(ctx context.Context, items []Item) (int, error)
	// Debts returns up to limit debts of a kind, at most 1,000, in an order of the
	// store's own: those behind the one with the id after (event.Key.Local). "" begins with
	// the first. It reads no documents but debts.
	Debts(ctx context.Context, source, kind, after string, limit int) ([]Item, error)
	// DebtsOf returns the debts among the documents of the keys, in no order.
	DebtsOf(ctx context.Context, keys []event.Key) ([]Item, error)
	// TrimFeed removes the batches of a source that come before the oldest one made at
	// or after a time, or before the newest one if none was. It returns how many.
	TrimFeed(ctx context.Context, source string, before time.Time) (int, error)
}
