package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/tarn-sync/tarn/shared/storage"
)

// fleetID is the _id of the one document of the fleet's collection.
const fleetID = "fleet"

// fleet is the fleet as stored.
type fleet struct {
	ID     string `bson:"_id"`
	Fleet  string `bson:"fleet"`
	Prefix string `bson:"prefix"`
	Shards int    `bson:"shards"`
	Data   string `bson:"data"`
	Turn   int64  `bson:"turn"`
}

// Fleet returns the fleet the database belongs to, or storage.ErrNotFound.
func (s *Store) Fleet(ctx context.Context) (storage.Fleet, error) {
	var f fleet
	err := s.fleet.FindOne(ctx, bson.D{{Key: "_id", Value: fleetID}}).Decode(&f)
	if errors.Is(err, mongo.ErrNoDocuments) {
		err = storage.ErrNotFound
	}
	if err != nil {
		return storage.Fleet{}, fmt.Errorf("read the fleet: %w", classify(ctx, err))
	}
	return storage.Fleet{ID: f.Fleet, Prefix: f.Prefix, Shards: f.Shards, Data: f.Data, Turn: f.Turn}, nil
}

// FoundFleet keeps f unless the database belongs to a fleet already. The unique
// _id decides among several callers.
func (s *Store) FoundFleet(ctx context.Context, f storage.Fleet) (storage.Fleet, error) {
	_, err := s.fleet.InsertOne(ctx, fleet{ID: fleetID, Fleet: f.ID, Prefix: f.Prefix, Shards: f.Shards, Data: f.Data, Turn: 1})
	if err != nil && !mongo.IsDuplicateKeyError(err) {
		return storage.Fleet{}, fmt.Errorf("found the fleet: %w", classify(ctx, err))
	}
	return s.Fleet(ctx)
}

// ChangeFleet replaces what is known of the fleet if the turn is still f.Turn.
func (s *Store) ChangeFleet(ctx context.Context, f storage.Fleet) (bool, error) {
	res, err := s.fleet.UpdateOne(ctx,
		bson.D{{Key: "_id", Value: fleetID}, {Key: "turn", Value: f.Turn}},
		bson.D{{Key: "$set", Value: bson.D{
			{Key: "fleet", Value: f.ID}, {Key: "prefix", Value: f.Prefix}, {Key: "shards", Value: f.Shards},
			{Key: "data", Value: f.Data}, {Key: "turn", Value: f.Turn + 1},
		}}})
	if err != nil {
		return false, fmt.Errorf("change the fleet: %w", classify(ctx, err))
	}
	return res.MatchedCount > 0, nil
}
