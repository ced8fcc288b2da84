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
	"github.com/tarn-sync/tarn/shared/storage"
)

// Documents returns the documents of the keys that the mirror holds.
func (s *Store) Documents(ctx context.Context, keys []event.Key) ([]*storage.Document, error) {
	var out []*storage.Document
	for name, keys := range byCollection(keys, func(k event.Key) event.Key { return k }) {
		for chunk := range slices.Chunk(keys, maxIDs) {
			ids := make([]string, len(chunk))
			for i, k := range chunk {
				ids[i] = k.Local()
			}
			docs, err := find[document](ctx, s.db.Collection(name), bson.D{among(ids)}, options.Find().SetProjection(withoutState))
			if err != nil {
				return nil, fmt.Errorf("read documents of %s: %w", name, err)
			}
			for _, d := range docs {
				out = append(out, d.mirror())
			}
		}
	}
	return out, nil
}

// byCollection sorts elements by the collection of the entity they are about,
// keeping their order.
func byCollection[T any](all []T, key func(T) event.Key) map[string][]T {
	out := map[string][]T{}
	for _, v := range all {
		k := key(v)
		name := mirrorName(k.Source, k.Kind)
		out[name] = append(out[name], v)
	}
	return out
}

// Verify moves verified_at up where the state is still the compared one.
func (s *Store) Verify(ctx context.Context, same []storage.Verified) (moved int, err error) {
	for name, same := range byCollection(same, func(v storage.Verified) event.Key { return v.Key }) {
		same = inOrder(same, func(v storage.Verified) string { return v.Key.Local() })
		for chunk := range slices.Chunk(same, s.bulkSize) {
			models := make([]mongo.WriteModel, len(chunk))
			for i, v := range chunk {
				models[i] = mongo.NewUpdateOneModel().
					SetFilter(bson.D{
						{Key: "_id", Value: v.Key.Local()}, {Key: "state_hash", Value: v.StateHash},
						{Key: "deleted_at", Value: bson.D{{Key: "$exists", Value: v.Deleted}}},
					}).
					SetUpdate(bson.D{{Key: "$max", Value: bson.D{{Key: "verified_at", Value: v.At}}}})
			}
			// They are of different documents, so their order is of no account.
			res, err := s.db.Collection(name).BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
			if err != nil {
				return moved, fmt.Errorf("note what was verified in %s: %w", name, classify(ctx, err))
			}
			moved += int(res.ModifiedCount)
		}
	}
	return moved, nil
}

// looked selects the fetched documents that sweeps look after. What has been
// terminal or deleted for long is not among them. That it was verified since
// it became so need not be asked: the write that says so also verifies.
func looked(terminalBefore time.Time) bson.D {
	since := func(field string) bson.D {
		return bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: field, Value: nil}},
			bson.D{{Key: field, Value: bson.D{{Key: "$gte", Value: terminalBefore}}}},
		}}}
	}
	return bson.D{
		{Key: "synced_claim", Value: bson.D{{Key: "$gt", Value: 0}}},
		{Key: "$and", Value: bson.A{since("terminal_at"), since("deleted_at")}},
	}
}

// DueForVerify lists fetched documents to be checked, by id, among those that
// one step of the scan reads.
func (s *Store) DueForVerify(ctx context.Context, f storage.DueFilter) (due []*storage.Document, next string, err error) {
	c := s.db.Collection(mirrorName(f.Source, f.Kind))
	end, more, err := s.scanStep(ctx, c, f.After)
	if err != nil {
		return nil, "", fmt.Errorf("look for %s/%s to verify: %w", f.Source, f.Kind, err)
	}
	// Not "less than": what was never verified has no such field.
	filter := append(looked(f.TerminalBefore),
		bson.E{Key: "verified_at", Value: bson.D{{Key: "$not", Value: bson.D{{Key: "$gte", Value: f.VerifiedBefore}}}}},
		bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: f.After}, {Key: "$lte", Value: end}}})
	limit := max(f.Limit, 1)
	docs, err := find[document](ctx, c, filter, options.Find().
		SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(limit)).SetProjection(withoutState))
	if err != nil {
		return nil, "", fmt.Errorf("look for %s/%s to verify: %w", f.Source, f.Kind, err)
	}
	for _, d := range docs {
		due = append(due, d.mirror())
	}
	switch {
	case len(docs) == limit:
		return due, docs[limit-1].ID, nil
	case more:
		return due, end, nil
	}
	return due, "", nil
}

// scanStep is the id of the last document that a step of a scan, which begins
// behind an id, reads, and whether there is more behind it. It is found in the
// index of ids alone, once for all pages of the step.
func (s *Store) scanStep(ctx context.Context, c *mongo.Collection, after string) (end string, more bool, err error) {
	if end, known := s.steps.End(c.Name(), after); known {
		return end, true, nil
	}
	behind := bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: after}}}}
	one := options.Find().SetLimit(1).SetProjection(bson.D{{Key: "_id", Value: 1}})
	last, err := find[document](ctx, c, behind, one.SetSort(bson.D{{Key: "_id", Value: 1}}).SetSkip(int64(s.scanSize-1)))
	if err == nil && len(last) > 0 {
		s.steps.Keep(c.Name(), after, last[0].ID)
		return last[0].ID, true, nil
	}
	if err == nil {
		last, err = find[document](ctx, c, behind, one.SetSort(bson.D{{Key: "_id", Value: -1}}).SetSkip(0))
	}
	if err != nil || len(last) == 0 {
		return after, false, err
	}
	return last[0].ID, false, nil
}

// Living returns fetched documents that are not deleted, by the index named
// undeleted, in its order: those that are not terminal, and, where they do not
// suffice, those that became terminal last.
func (s *Store) Living(ctx context.Context, source, kind string, limit int) ([]*storage.Document, error) {
	limit = max(limit, 1)
	c := s.db.Collection(mirrorName(source, kind))
	var out []*storage.Document
	for _, part := range []struct {
		terminal bson.E
		sort     bson.D
	}{
		{bson.E{Key: "terminal_at", Value: nil}, bson.D{{Key: "verified_at", Value: -1}}},
		{bson.E{Key: "terminal_at", Value: bson.D{{Key: "$gt", Value: time.Time{}}}}, bson.D{{Key: "terminal_at", Value: -1}, {Key: "verified_at", Value: -1}}},
	} {
		if len(out) == limit {
			break
		}
		docs, err := find[document](ctx, c,
			bson.D{part.terminal, {Key: "deleted_at", Value: nil}, {Key: "synced_claim", Value: bson.D{{Key: "$gt", Value: 0}}}},
			options.Find().SetSort(part.sort).SetLimit(int64(limit-len(out))).SetProjection(withoutState))
		if err != nil {
			return nil, fmt.Errorf("look for what lives of %s/%s: %w", source, kind, err)
		}
		for _, d := range docs {
			out = append(out, d.mirror())
		}
	}
	return out, nil
}

// Unfetched counts the documents of some kinds that were asked for and never had.
func (s *Store) Unfetched(ctx context.Context, source string, kinds []string) (n int64, err error) {
	for _, kind := range kinds {
		of, err := s.db.Collection(mirrorName(source, kind)).CountDocuments(ctx, unfetched())
		if err != nil {
			return 0, fmt.Errorf("count what was never fetched of %s/%s: %w", source, kind, classify(ctx, err))
		}
		n += of
	}
	return n, nil
}

// FirstUnfetched returns some of those of one kind.
func (s *Store) FirstUnfetched(ctx context.Context, source, kind string, limit int) ([]*storage.Document, error) {
	docs, err := find[document](ctx, s.db.Collection(mirrorName(source, kind)), unfetched(),
		options.Find().SetLimit(int64(max(limit, 1))).SetProjection(withoutState))
	if err != nil {
		return nil, fmt.Errorf("list what was never fetched of %s/%s: %w", source, kind, err)
	}
	out := make([]*storage.Document, len(docs))
	for i, d := range docs {
		out[i] = d.mirror()
	}
	return out, nil
}

// unfetched selects what was never fetched: documents are born with this claim.
func unfetched() bson.D { return bson.D{{Key: "synced_claim", Value: 0}} }

// Staleness answers for those of some kinds of which something lives.
func (s *Store) Staleness(ctx context.Context, source string, kinds []string) (out []storage.Staleness, err error) {
	for _, kind := range kinds {
		oldest, err := s.stalest(ctx, s.db.Collection(mirrorName(source, kind)))
		if err != nil {
			return nil, fmt.Errorf("look for the stalest of %s/%s: %w", source, kind, err)
		}
		if len(oldest) > 0 {
			out = append(out, storage.Staleness{Kind: kind, Oldest: oldest[0].VerifiedAt})
		}
	}
	return out, nil
}

// stalest reads the first that lives, in the order of the index of those.
func (s *Store) stalest(ctx context.Context, c *mongo.Collection) ([]*document, error) {
	return find[document](ctx, c,
		bson.D{
			{Key: "terminal_at", Value: nil}, {Key: "deleted_at", Value: nil},
			{Key: "synced_claim", Value: bson.D{{Key: "$gt", Value: 0}}},
		},
		options.Find().SetSort(bson.D{{Key: "verified_at", Value: 1}}).SetLimit(1).SetProjection(bson.D{{Key: "verified_at", Value: 1}}))
}
