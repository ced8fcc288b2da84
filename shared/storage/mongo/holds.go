package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/storage"
)

// hold says that the commands of a source are held, as stored.
type hold struct {
	ID     string    `bson:"_id"` // source
	Since  time.Time `bson:"since"`
	Reason string    `bson:"reason"`
}

func (h hold) mirror() storage.CommandHold {
	return storage.CommandHold{Source: h.ID, Since: h.Since.UTC(), Reason: h.Reason}
}

// Hold holds the commands of a source.
func (s commands) Hold(ctx context.Context, h storage.CommandHold) error {
	_, err := s.holds.UpdateOne(ctx, bson.D{{Key: "_id", Value: h.Source}}, bson.D{{Key: "$setOnInsert", Value: bson.D{
		{Key: "since", Value: h.Since}, {Key: "reason", Value: h.Reason},
	}}}, options.UpdateOne().SetUpsert(true))
	if err != nil && !mongo.IsDuplicateKeyError(err) { // two made it at once
		return fmt.Errorf("hold the commands of %s: %w", h.Source, classify(ctx, err))
	}
	return nil
}

// Release ends the hold of a source.
func (s commands) Release(ctx context.Context, source string) (*storage.CommandHold, error) {
	var h hold
	err := s.holds.FindOneAndDelete(ctx, bson.D{{Key: "_id", Value: source}}).Decode(&h)
	if errors.Is(err, mongo.ErrNoDocuments) {
		err = storage.ErrNotFound
	} else {
		err = classify(ctx, err)
	}
	if err != nil {
		return nil, fmt.Errorf("release the commands of %s: %w", source, err)
	}
	was := h.mirror()
	return &was, nil
}

// Holds returns all holds. There is one for a source at most, so no index serves it.
func (s commands) Holds(ctx context.Context) ([]storage.CommandHold, error) {
	found, err := find[hold](ctx, s.holds, bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("list the holds of commands: %w", err)
	}
	var out []storage.CommandHold
	for _, h := range found {
		out = append(out, h.mirror())
	}
	return out, nil
}
