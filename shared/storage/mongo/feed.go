package mongo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/storage"
)

// batch is a batch of the feed as stored.
type batch struct {
	ID     string    `bson:"_id"` // see batchID
	Source string    `bson:"source"`
	First  int64     `bson:"first"`
	Len    int64     `bson:"len"`
	Gen    string    `bson:"gen"`
	Reason string    `bson:"reason,omitempty"`
	Tag    string    `bson:"tag"`
	Prev   string    `bson:"prev"`
	At     time.Time `bson:"at"`
	Items  []item    `bson:"items"`
}

type item struct {
	Kind    string `bson:"kind"`
	ID      string `bson:"id"`
	Version int64  `bson:"version"`
}

// The most that one call answers.
const (
	mostBatches   = 100
	mostDocuments = 1000
)

// batchID is the _id of a batch, so that batches of a source sort by their position.
func batchID(source string, first int64) string { return fmt.Sprintf("%s/%020d", source, first) }

// byPosition is the order of the batches of one source.
var byPosition = bson.D{{Key: "_id", Value: 1}}

// withoutItems leaves out what the head and the tail are not asked for.
var withoutItems = bson.D{{Key: "items", Value: 0}}

func newBatch(b *storage.Batch) (*batch, error) {
	out := &batch{
		ID: batchID(b.Source, b.First), Source: b.Source, First: b.First, Len: b.Len,
		Gen: b.Gen, Reason: b.Reason, Tag: b.Tag, Prev: b.Prev, At: b.At, Items: make([]item, len(b.Items)),
	}
	for i, it := range b.Items {
		if err := checkText(it.Key.Kind, it.Key.Local()); err != nil {
			return nil, err
		}
		out.Items[i] = item{Kind: it.Key.Kind, ID: it.Key.Local(), Version: it.Version}
	}
	return out, nil
}

func (b *batch) mirror() *storage.Batch {
	out := &storage.Batch{
		Source: b.Source, First: b.First, Len: b.Len, Gen: b.Gen, Reason: b.Reason, Tag: b.Tag, Prev: b.Prev, At: b.At,
	}
	for _, it := range b.Items {
		out.Items = append(out.Items, storage.Item{Key: event.LocalKey(b.Source, it.Kind, it.ID), Version: it.Version})
	}
	return out
}

// batchesOf selects the batches of a source that begin at from or later, and before to;
// 0: no end.
func batchesOf(source string, from, to int64) bson.D {
	end := source + "0" // "0" sorts right behind "/"
	if to > 0 {
		end = batchID(source, to)
	}
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: batchID(source, from)}, {Key: "$lt", Value: end}}}}
}

// FeedHead returns the newest batch of a source, without its items.
func (s *Store) FeedHead(ctx context.Context, source string) (*storage.Batch, error) {
	return s.feedEnd(ctx, source, "head", -1)
}

// FeedTail returns the oldest batch of a source, without its items.
func (s *Store) FeedTail(ctx context.Context, source string) (*storage.Batch, error) {
	return s.feedEnd(ctx, source, "tail", 1)
}

func (s *Store) feedEnd(ctx context.Context, source, end string, order int) (*storage.Batch, error) {
	found, err := find[batch](ctx, s.feed, batchesOf(source, 0, 0), options.Find().
		SetSort(bson.D{{Key: "_id", Value: order}}).SetLimit(1).SetProjection(withoutItems))
	if err == nil && len(found) == 0 {
		err = storage.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read the %s of the feed of %s: %w", end, source, err)
	}
	return found[0].mirror(), nil
}

// Batches returns batches from the one that holds a position.
func (s *Store) Batches(ctx context.Context, source string, position int64, limit int) ([]*storage.Batch, error) {
	from := position
	holds, err := find[batch](ctx, s.feed, batchesOf(source, 0, position+1), options.Find().
		SetSort(bson.D{{Key: "_id", Value: -1}}).SetLimit(1).SetProjection(withoutItems))
	var found []*batch
	if err == nil {
		if len(holds) > 0 && holds[0].First+holds[0].Len > position {
			from = holds[0].First
		}
		found, err = find[batch](ctx, s.feed, batchesOf(source, from, 0), options.Find().
			SetSort(byPosition).SetLimit(int64(min(max(limit, 1), mostBatches))))
	}
	if err != nil {
		return nil, fmt.Errorf("read the feed of %s from %d: %w", source, position, err)
	}
	out := make([]*storage.Batch, len(found))
	for i, b := range found {
		out[i] = b.mirror()
	}
	return out, nil
}

// AddBatch inserts a batch. The unique _id decides among several callers.
func (s *Store) AddBatch(ctx context.Context, b *storage.Batch) (added bool, err error) {
	doc, err := newBatch(b)
	if err != nil {
		return false, fmt.Errorf("add to the feed of %s: %w", b.Source, err)
	}
	if fault.Off("feed-fence") {
		_, err = s.feed.ReplaceOne(ctx, bson.D{{Key: "_id", Value: doc.ID}}, doc, options.Replace().SetUpsert(true))
	} else {
		_, err = s.feed.InsertOne(ctx, doc)
	}
	if mongo.IsDuplicateKeyError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("add to the feed of %s at %d: %w", b.Source, b.First, classify(ctx, err))
	}
	return true, nil
}

// owed selects the debts of a collection, as their index has them: a condition cannot
// compare two fields there, so each change of the version sets a mark, which Fed removes.
func owed() bson.E { return bson.E{Key: "owed", Value: true} }

// changed are the fields by which a write says that it changes what a document says.
func changed(claim int64) []bson.E {
	return []bson.E{{Key: "version", Value: claim}, owed()}
}

// Fed notes which versions are in the feed.
func (s *Store) Fed(ctx context.Context, items []storage.Item) (raised int, err error) {
	for name, items := range byCollection(items, func(i storage.Item) event.Key { return i.Key }) {
		items = inOrder(items, func(i storage.Item) string { return i.Key.Local() })
		for chunk := range slices.Chunk(items, s.bulkSize) {
			models := make([]mongo.WriteModel, len(chunk))
			for i, it := range chunk {
				models[i] = mongo.NewUpdateOneModel().
					SetFilter(bson.D{{Key: "_id", Value: it.Key.Local()}, {Key: "version", Value: it.Version}}).
					SetUpdate(bson.D{
						{Key: "$set", Value: bson.D{{Key: "fed", Value: it.Version}}},
						{Key: "$unset", Value: bson.D{{Key: "owed", Value: ""}}},
					})
			}
			// They are of different documents, so their order is of no account.
			res, err := s.db.Collection(name).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
			if err != nil {
				return raised, fmt.Errorf("note in %s what is in the feed: %w", name, classify(ctx, err))
			}
			raised += int(res.ModifiedCount)
		}
	}
	return raised, nil
}

// versionAlone is what an item has of a document.
var versionAlone = bson.D{{Key: "version", Value: 1}}

// debts reads what a filter selects of the debts of a collection.
func (s *Store) debts(ctx context.Context, source, kind string, filter bson.D, opts *options.FindOptionsBuilder) ([]storage.Item, error) {
	docs, err := find[document](ctx, s.db.Collection(mirrorName(source, kind)), filter, opts.SetProjection(versionAlone))
	out := make([]storage.Item, len(docs))
	for i, d := range docs {
		out[i] = storage.Item{Key: event.LocalKey(source, kind, d.ID), Version: d.Version}
	}
	return out, err
}

// Debts lists what the feed lacks of a kind.
func (s *Store) Debts(ctx context.Context, source, kind, after string, limit int) ([]storage.Item, error) {
	filter := bson.D{owed(), {Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}}
	out, err := s.debts(ctx, source, kind, filter, options.Find().
		SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(min(max(limit, 1), mostDocuments))))
	if err != nil {
		return nil, fmt.Errorf("list what the feed lacks of %s/%s: %w", source, kind, err)
	}
	return out, nil
}

// DebtsOf lists what the feed lacks of some entities.
func (s *Store) DebtsOf(ctx context.Context, keys []event.Key) (out []storage.Item, err error) {
	for _, keys := range byCollection(keys, func(k event.Key) event.Key { return k }) {
		for chunk := range slices.Chunk(keys, maxIDs) {
			ids := make([]string, len(chunk))
			for i, k := range chunk {
				ids[i] = k.Local()
			}
			found, err := s.debts(ctx, keys[0].Source, keys[0].Kind, bson.D{among(ids), owed()}, options.Find())
			if err != nil {
				return nil, fmt.Errorf("list what the feed lacks of %d entities: %w", len(keys), err)
			}
			out = append(out, found...)
		}
	}
	return out, nil
}

// Walk returns fetched documents of a kind by id.
func (s *Store) Walk(ctx context.Context, source, kind, after string, limit int) ([]*storage.Document, error) {
	filter := bson.D{
		{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}},
		{Key: "synced_claim", Value: bson.D{{Key: "$gt", Value: 0}}},
	}
	docs, err := find[document](ctx, s.db.Collection(mirrorName(source, kind)), filter, options.Find().
		SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(min(max(limit, 1), mostDocuments))).SetProjection(withoutState))
	if err != nil {
		return nil, fmt.Errorf("walk through %s/%s: %w", source, kind, err)
	}
	out := make([]*storage.Document, len(docs))
	for i, d := range docs {
		out[i] = d.mirror()
	}
	return out, nil
}

// TrimFeed removes old batches, oldest first.
func (s *Store) TrimFeed(ctx context.Context, source string, before time.Time) (removed int, err error) {
	from, err := s.keptFrom(ctx, source, before)
	for err == nil && from > 0 {
		var old []*batch
		old, err = find[batch](ctx, s.feed, batchesOf(source, 0, from), options.Find().
			SetSort(byPosition).SetLimit(int64(s.bulkSize)).SetProjection(bson.D{{Key: "first", Value: 1}}))
		if err != nil || len(old) == 0 {
			break
		}
		var res *mongo.DeleteResult
		if res, err = s.feed.DeleteMany(ctx, batchesOf(source, old[0].First, old[len(old)-1].First+1)); err == nil {
			removed += int(res.DeletedCount)
		}
	}
	if err != nil {
		return removed, fmt.Errorf("trim the feed of %s: %w", source, classify(ctx, err))
	}
	return removed, nil
}

// keptFrom is the position of the oldest batch that a trim leaves, 0 if there is none.
func (s *Store) keptFrom(ctx context.Context, source string, before time.Time) (int64, error) {
	young := append(batchesOf(source, 0, 0), bson.E{Key: "at", Value: bson.D{{Key: "$gte", Value: before}}})
	found, err := find[batch](ctx, s.feed, young, options.Find().
		SetSort(byPosition).SetLimit(1).SetProjection(bson.D{{Key: "first", Value: 1}}))
	if err == nil && len(found) == 0 {
		found, err = find[batch](ctx, s.feed, batchesOf(source, 0, 0), options.Find().
			SetSort(bson.D{{Key: "_id", Value: -1}}).SetLimit(1).SetProjection(bson.D{{Key: "first", Value: 1}}))
	}
	if err != nil || len(found) == 0 {
		return 0, err
	}
	return found[0].First, nil
}
