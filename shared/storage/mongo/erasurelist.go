package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// erasure is an act of erasing as stored.
type erasure struct {
	ID     string    `bson:"_id"` // the key's text
	Source string    `bson:"source"`
	At     time.Time `bson:"at"`
	By     string    `bson:"by,omitempty"`
	With   string    `bson:"with,omitempty"` // the key's text
	Below  bool      `bson:"below"`
}

// listVersion is the document that counts the changes of the list.
type listVersion struct {
	ID      string `bson:"_id"`
	Version int64  `bson:"version"`
}

// versionID is the _id of that document.
const versionID = "version"

// Enlist puts an act of erasing into the list. The version comes last: a reader that has
// seen it reads a list that has the act.
func (s *Store) Enlist(ctx context.Context, e storage.Erasure) error {
	k := e.Key
	err := checkText(k.Source, k.Kind, k.Local())
	if err == nil {
		err = s.enlist(ctx, e)
	}
	if err == nil {
		err = s.countErasures(ctx)
	}
	if err != nil {
		return fmt.Errorf("enlist the erasure of %s: %w", k, err)
	}
	return nil
}

func (s *Store) enlist(ctx context.Context, e storage.Erasure) error {
	m := newMarker(e.Marker)
	_, err := s.erasures.InsertOne(ctx, erasure{ID: e.Key.String(), Source: e.Key.Source, At: m.At, By: m.By, With: m.With, Below: e.Below})
	if !mongo.IsDuplicateKeyError(err) {
		return classify(ctx, err)
	}
	update := bson.D{}
	if e.Below {
		update = append(update, bson.E{Key: "$set", Value: bson.D{{Key: "below", Value: true}}})
	}
	if m.With == "" {
		update = append(update, bson.E{Key: "$unset", Value: bson.D{{Key: "with", Value: ""}}})
	}
	if len(update) == 0 {
		return nil
	}
	_, err = s.erasures.UpdateOne(ctx, bson.D{{Key: "_id", Value: e.Key.String()}}, update)
	return classify(ctx, err)
}

// Unlist removes the act of an entity, and those of what was erased with it.
func (s *Store) Unlist(ctx context.Context, k event.Key) error {
	_, err := s.erasures.DeleteMany(ctx, bson.D{{Key: "with", Value: k.String()}})
	if err == nil {
		_, err = s.erasures.DeleteOne(ctx, bson.D{{Key: "_id", Value: k.String()}})
	}
	if err == nil {
		err = s.countErasures(ctx)
	}
	if err != nil {
		return fmt.Errorf("unlist the erasure of %s: %w", k, classify(ctx, err))
	}
	return nil
}

// countErasures raises the version of the list. It is not an upsert: see upsert.
func (s *Store) countErasures(ctx context.Context) error {
	this, raise := bson.D{{Key: "_id", Value: versionID}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "version", Value: int64(1)}}}}
	for range upsertTries {
		res, err := s.erasures.UpdateOne(ctx, this, raise)
		if err != nil || res.MatchedCount > 0 {
			return classify(ctx, err)
		}
		if _, err = s.erasures.InsertOne(ctx, listVersion{versionID, 1}); !mongo.IsDuplicateKeyError(err) {
			return classify(ctx, err)
		}
	}
	return nil
}

// Erasures returns the list of the acts of erasing. The version is read first: a change
// that is made in between is read again with the next.
func (s *Store) Erasures(ctx context.Context, seen int64) (list []storage.Erasure, version int64, err error) {
	var v listVersion
	err = s.erasures.FindOne(ctx, bson.D{{Key: "_id", Value: versionID}}).Decode(&v)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return nil, 0, fmt.Errorf("read the version of the erasures: %w", classify(ctx, err))
	}
	if v.Version == seen {
		return nil, seen, nil
	}
	all, err := find[erasure](ctx, s.erasures, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: ""}}}}, options.Find().
		SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return nil, 0, fmt.Errorf("list erasures: %w", err)
	}
	for _, e := range all {
		if e.ID == versionID {
			continue
		}
		k, err := event.ParseKey(e.ID)
		if err != nil {
			return nil, 0, fmt.Errorf("list erasures: %w", fate.New(fate.Permanent, err))
		}
		m := marker{At: e.At, By: e.By, With: e.With}
		list = append(list, storage.Erasure{Key: k, Marker: *m.mirror(), Below: e.Below})
	}
	return list, v.Version, nil
}

// Below returns documents under a parent.
func (s *Store) Below(ctx context.Context, f storage.BelowFilter) ([]*storage.Document, error) {
	filter := bson.D{{Key: "parents." + escapeField(f.Parent), Value: f.ID}}
	if f.After != "" {
		filter = append(filter, bson.E{Key: "_id", Value: bson.D{{Key: "$gt", Value: f.After}}})
	}
	docs, err := find[document](ctx, s.db.Collection(mirrorName(f.Source, f.Kind)), filter, options.Find().
		SetSort(bson.D{{Key: "_id", Value: 1}}).SetLimit(int64(max(f.Limit, 1))).SetProjection(withoutState))
	if err != nil {
		return nil, fmt.Errorf("list %s/%s under %s %s: %w", f.Source, f.Kind, f.Parent, f.ID, err)
	}
	out := make([]*storage.Document, len(docs))
	for i, d := range docs {
		out[i] = d.mirror()
	}
	return out, nil
}
