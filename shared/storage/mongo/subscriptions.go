package mongo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/storage"
)

// subscription is how far a consumer is, as stored.
type subscription struct {
	ID       string    `bson:"_id"` // source/consumer
	Source   string    `bson:"source"`
	Consumer string    `bson:"consumer"`
	Form     string    `bson:"form"`
	Kinds    []string  `bson:"kinds,omitempty"`
	After    string    `bson:"after"`
	Position int64     `bson:"position"`
	At       time.Time `bson:"at"`
	By       string    `bson:"by"`
}

// SaveSubscriptions saves how far consumers are.
func (s *Store) SaveSubscriptions(ctx context.Context, subs []storage.Subscription) error {
	for part := range slices.Chunk(subs, s.bulkSize) {
		models := make([]mongo.WriteModel, len(part))
		for i, c := range part {
			doc := subscription{
				ID: c.Source + "/" + c.Consumer, Source: c.Source, Consumer: c.Consumer, Form: c.Form, Kinds: c.Kinds,
				After: c.After, Position: c.Position, At: c.At, By: c.By,
			}
			models[i] = mongo.NewReplaceOneModel().SetFilter(bson.D{{Key: "_id", Value: doc.ID}}).SetReplacement(doc).SetUpsert(true)
		}
		if _, err := s.subscriptions.BulkWrite(ctx, models); err != nil {
			return fmt.Errorf("save subscriptions: %w", classify(ctx, err))
		}
	}
	return nil
}

// Subscriptions lists how far consumers are. There are few, so no index serves it.
func (s *Store) Subscriptions(ctx context.Context) ([]storage.Subscription, error) {
	found, err := find[subscription](ctx, s.subscriptions, bson.D{}, options.Find().
		SetSort(bson.D{{Key: "at", Value: -1}, {Key: "_id", Value: 1}}).SetLimit(storage.MaxSubscriptions))
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", err)
	}
	out := make([]storage.Subscription, len(found))
	for i, c := range found {
		out[i] = storage.Subscription{
			Source: c.Source, Consumer: c.Consumer, Form: c.Form, Kinds: c.Kinds,
			After: c.After, Position: c.Position, At: c.At.UTC(), By: c.By,
		}
	}
	return out, nil
}

// TrimSubscriptions removes old ones.
func (s *Store) TrimSubscriptions(ctx context.Context, before time.Time) (int, error) {
	res, err := s.subscriptions.DeleteMany(ctx, bson.D{{Key: "at", Value: bson.D{{Key: "$lt", Value: before}}}})
	if err != nil {
		return 0, fmt.Errorf("trim subscriptions: %w", classify(ctx, err))
	}
	return int(res.DeletedCount), nil
}
