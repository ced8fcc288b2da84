package mongo

import (
	"context"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

// inOrder returns elements of a bulk in the order of the documents they change,
// those of one document as they were. A server that runs a bulk as one
// transaction locks documents in the order of the bulk: two bulks that lock the
// same ones in different orders would wait for each other until one is ended.
func inOrder[T any](all []T, id func(T) string) []T {
	return slices.SortedStableFunc(slices.Values(all), func(a, b T) int { return strings.Compare(id(a), id(b)) })
}

// maxIDs is how many ids one query asks for at most.
const maxIDs = 500

// newestFirst is a list ordered by a time, then by _id, both descending.
type newestFirst[T any] struct {
	name       string // in cursors
	collection *mongo.Collection
	time       string // field
	place      func(T) (at time.Time, id string)
}

// read reads one page of what a filter selects.
func (l newestFirst[T]) read(ctx context.Context, filter bson.D, limit int, cursor string) (storage.Page[*T], error) {
	var none storage.Page[*T]
	after, ok, err := page.Parse(l.name, cursor)
	if err != nil {
		return none, err
	}
	if ok {
		filter = append(filter, behindPlace(l.time, "$lt", after))
	}
	size := page.Size(limit)
	docs, err := find[T](ctx, l.collection, filter, options.Find().
		SetSort(bson.D{{Key: l.time, Value: -1}, {Key: "_id", Value: -1}}).SetLimit(int64(size+1)))
	if err != nil {
		return none, err
	}
	return page.Cut(docs, size, func(d *T) page.Place {
		at, id := l.place(*d)
		return page.Place{List: l.name, At: at.UnixMilli(), ID: id}
	}), nil
}

// behindPlace selects what comes behind a place in a list ordered by a time and
// then by _id, in the direction of the operator, $lt or $gt.
func behindPlace(field, operator string, p page.Place) bson.E {
	at := time.UnixMilli(p.At)
	return bson.E{Key: "$and", Value: bson.A{
		bson.D{{Key: field, Value: bson.D{{Key: operator + "e", Value: at}}}}, // bounds what is read of the index
		bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: field, Value: bson.D{{Key: "$ne", Value: at}}}},
			bson.D{{Key: "_id", Value: bson.D{{Key: operator, Value: p.ID}}}},
		}}},
	}}
}

// convert makes a page of what is stored one of what is answered.
func convert[From, To any](p storage.Page[*From], to func(*From) *To) storage.Page[*To] {
	out := storage.Page[*To]{Items: make([]*To, len(p.Items)), NextCursor: p.NextCursor}
	for i, v := range p.Items {
		out.Items[i] = to(v)
	}
	return out
}

// appendEqual selects by a value, unless it is empty.
func appendEqual(filter bson.D, field, value string) bson.D {
	if value == "" {
		return filter
	}
	return append(filter, bson.E{Key: field, Value: value})
}

// stringCounts counts what matches by the value of one field.
func stringCounts(ctx context.Context, c *mongo.Collection, filter bson.D, field string) (map[string]int64, error) {
	cursor, err := c.Aggregate(ctx, mongo.Pipeline{
		{{Key: "$match", Value: filter}},
		{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$" + field}, {Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}}}}},
	})
	if err != nil {
		return nil, classify(ctx, err)
	}
	var groups []struct {
		Value string `bson:"_id"`
		N     int64  `bson:"n"`
	}
	if err := cursor.All(ctx, &groups); err != nil {
		return nil, classify(ctx, err)
	}
	out := make(map[string]int64, len(groups))
	for _, g := range groups {
		out[g.Value] = g.N
	}
	return out, nil
}
