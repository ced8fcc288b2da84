package mongo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

const unsettledList = "unsettled"

// Unsettled pages through the rows of a source that have open outcomes, oldest
// first.
func (s *Store) Unsettled(ctx context.Context, source string, before time.Time, limit int, cursor string) ([]*storage.EventRow, string, error) {
	after, ok, err := page.Parse(unsettledList, cursor)
	if err != nil {
		return nil, "", err
	}
	filter := bson.D{
		{Key: "source", Value: source}, {Key: "open", Value: bson.D{{Key: "$gt", Value: 0}}},
		{Key: "received_at", Value: bson.D{{Key: "$lt", Value: before}}},
	}
	if ok {
		filter = append(filter, behindPlace("received_at", "$gt", after))
	}
	limit = max(limit, 1)
	rows, err := find[row](ctx, s.events, filter, options.Find().
		SetSort(bson.D{{Key: "received_at", Value: 1}, {Key: "_id", Value: 1}}).SetLimit(int64(limit+1)))
	if err != nil {
		return nil, "", fmt.Errorf("read unsettled events of %s: %w", source, err)
	}
	p := page.Cut(eventRows(rows), limit, func(r *storage.EventRow) page.Place {
		return page.Place{List: unsettledList, At: r.ReceivedAt.UnixMilli(), ID: rowID(r.Source, r.ID)}
	})
	return p.Items, p.NextCursor, nil
}

// Requeued stores the current entries of open outcomes.
func (s *Store) Requeued(ctx context.Context, again []storage.Requeue) error {
	models := make([]mongo.WriteModel, len(again))
	for i, r := range inOrder(again, func(r storage.Requeue) string { return rowID(r.Source, r.EventID) }) {
		models[i] = mongo.NewUpdateOneModel().
			SetFilter(bson.D{
				{Key: "_id", Value: rowID(r.Source, r.EventID)}, {Key: outcomePath(r.Entity, "status"), Value: storage.Pending},
			}).
			SetUpdate(bson.D{
				{Key: "$set", Value: bson.D{{Key: outcomePath(r.Entity, "signal"), Value: signal(r.Signal)}}},
				{Key: "$inc", Value: bson.D{{Key: "rev", Value: int64(1)}}},
			})
	}
	if _, err := s.bulk(ctx, s.events, models); err != nil {
		return fmt.Errorf("note requeued work: %w", err)
	}
	return nil
}

// KnownEvents answers which of the ids have a row in the log of a source.
func (s *Store) KnownEvents(ctx context.Context, source string, ids []string) (map[string]bool, error) {
	known := make(map[string]bool, len(ids))
	err := s.eachLogged(ctx, source, ids, bson.D{{Key: "id", Value: 1}}, func(r *row) { known[r.ID] = true })
	return known, err
}

// Homes answers the home keys of those of the ids that have a row.
func (s *Store) Homes(ctx context.Context, source string, ids []string) (map[string]event.Key, error) {
	homes := make(map[string]event.Key, len(ids))
	fields := bson.D{{Key: "id", Value: 1}, {Key: "keys", Value: 1}}
	err := s.eachLogged(ctx, source, ids, fields, func(r *row) {
		home := event.Key{Source: source, ID: r.ID}
		if len(r.Keys) > 0 { // the primary entity's is the first
			kind, local, _ := strings.Cut(r.Keys[0], "/")
			home = event.LocalKey(source, kind, local)
		}
		homes[r.ID] = home
	})
	return homes, err
}

// eachLogged reads some fields of the rows that the ids have.
func (s *Store) eachLogged(ctx context.Context, source string, ids []string, fields bson.D, yield func(*row)) error {
	for chunk := range slices.Chunk(ids, maxIDs) {
		rows := make([]string, len(chunk))
		for i, id := range chunk {
			rows[i] = rowID(source, id)
		}
		found, err := find[row](ctx, s.events, bson.D{among(rows)}, options.Find().SetProjection(fields))
		if err != nil {
			return fmt.Errorf("look for events of %s: %w", source, err)
		}
		for _, r := range found {
			yield(r)
		}
	}
	return nil
}
