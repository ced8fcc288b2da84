package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// marker is a storage.Marker as stored.
type marker struct {
	At   time.Time `bson:"at"`
	By   string    `bson:"by,omitempty"`
	With string    `bson:"with,omitempty"` // the key's text
}

func newMarker(m storage.Marker) marker {
	out := marker{At: m.At, By: m.By}
	if !m.With.IsZero() {
		out.With = m.With.String()
	}
	return out
}

func (m *marker) mirror() *storage.Marker {
	if m == nil {
		return nil
	}
	out := &storage.Marker{At: m.At, By: m.By}
	if m.With != "" {
		out.With, _ = event.ParseKey(m.With)
	}
	return out
}

// notErased selects documents without a marker.
var notErased = bson.E{Key: "erased", Value: nil}

// erasedFields are the values of a document's fields once it is a marker. The others are
// removed.
var (
	erasedFields = bson.D{
		{Key: "synced_claim", Value: int64(storage.ErasedClaim)}, {Key: "status", Value: ""}, {Key: "terminal", Value: false},
		{Key: "state_hash", Value: ""}, {Key: "open_letters", Value: 0},
	}
	removedFields = bson.D{
		{Key: "raw", Value: ""}, {Key: "state", Value: ""}, {Key: "terminal_at", Value: ""}, {Key: "deleted_at", Value: ""},
		{Key: "synced_at", Value: ""}, {Key: "verified_at", Value: ""}, {Key: "last_event", Value: ""}, {Key: "behind", Value: ""},
		{Key: "doubted_at", Value: ""},
	}
)

// Erase writes the entity's marker.
func (s *Store) Erase(ctx context.Context, ref event.Ref, m storage.Marker) (*storage.Document, error) {
	doc, err := s.erase(ctx, ref, newMarker(m))
	if err != nil {
		return nil, fmt.Errorf("erase %s: %w", ref.Key, err)
	}
	return doc.mirror(), nil
}

func (s *Store) erase(ctx context.Context, ref event.Ref, m marker) (*document, error) {
	c, err := s.mirrorOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	this := bson.D{{Key: "_id", Value: ref.Key.Local()}}
	unmarked := append(this[:1:1], notErased)
	if m.With == "" { // it replaces the marker of one that was erased with another
		unmarked = append(this[:1:1], bson.E{Key: "$or", Value: bson.A{
			bson.D{notErased}, bson.D{{Key: "erased.with", Value: bson.D{{Key: "$exists", Value: true}}}},
		}})
	}
	update := bson.D{
		{Key: "$set", Value: append(erasedFields[:len(erasedFields):len(erasedFields)], bson.E{Key: "erased", Value: m}, owed())},
		{Key: "$unset", Value: removedFields}, {Key: "$inc", Value: bson.D{{Key: "claim", Value: int64(1)}, {Key: "version", Value: int64(1)}}},
	}
	opts := options.FindOneAndUpdate().SetReturnDocument(options.After).SetProjection(withoutState)
	for range upsertTries {
		raw, err := c.FindOneAndUpdate(ctx, unmarked, update, opts).Raw()
		if errors.Is(err, mongo.ErrNoDocuments) {
			raw, err = c.FindOne(ctx, this, options.FindOne().SetProjection(withoutState)).Raw()
		}
		if err == nil {
			var doc document
			return &doc, decode(c, raw, &doc)
		}
		if !errors.Is(err, mongo.ErrNoDocuments) {
			return nil, classify(ctx, err)
		}
		born := bornErased(ref, m)
		if _, err = c.InsertOne(ctx, born); err == nil {
			return bornDocument(born)
		}
		if !mongo.IsDuplicateKeyError(err) {
			return nil, classify(ctx, err)
		}
	}
	return nil, fate.Errorf(fate.Unavailable, "the document was made and removed %d times meanwhile: try again", upsertTries)
}

// bornErased is the first document of an entity that was erased before it was fetched.
func bornErased(ref event.Ref, m marker) bson.D {
	born := bson.D{{Key: "_id", Value: ref.Key.Local()}}
	for _, e := range onInsert(ref) {
		if e.Key == "synced_claim" {
			e.Value = int64(storage.ErasedClaim)
		}
		born = append(born, e)
	}
	return append(append(born, bson.E{Key: "claim", Value: int64(1)}, bson.E{Key: "erased", Value: m}), changed(1)...)
}

// Unerase removes a marker.
func (s *Store) Unerase(ctx context.Context, k, with event.Key) (bool, error) {
	if err := checkText(k.Source, k.Kind, k.Local()); err != nil {
		return false, err
	}
	of := bson.E{Key: "erased.with", Value: nil}
	if !with.IsZero() {
		of.Value = with.String()
	}
	res, err := s.db.Collection(mirrorName(k.Source, k.Kind)).UpdateOne(ctx,
		bson.D{{Key: "_id", Value: k.Local()}, {Key: "erased", Value: bson.D{{Key: "$exists", Value: true}}}, of},
		bson.D{
			{Key: "$set", Value: bson.D{{Key: "synced_claim", Value: int64(0)}}},
			{Key: "$unset", Value: bson.D{{Key: "erased", Value: ""}}}, {Key: "$inc", Value: bson.D{{Key: "claim", Value: int64(1)}}},
		})
	if err != nil {
		return false, fmt.Errorf("restore %s: %w", k, classify(ctx, err))
	}
	return res.MatchedCount > 0, nil
}

// erasedAmong returns those of some entities that have a marker.
func (s *Store) erasedAmong(ctx context.Context, keys []event.Key) (map[event.Key]bool, error) {
	type kind struct{ source, kind string }
	ids := map[kind][]string{}
	for _, k := range keys {
		if k.ID == "" { // of a subscription, or of an event that names nothing
			continue
		}
		ids[kind{k.Source, k.Kind}] = append(ids[kind{k.Source, k.Kind}], k.Local())
	}
	erased := map[event.Key]bool{}
	for of, all := range ids {
		slices.Sort(all)
		for chunk := range slices.Chunk(slices.Compact(all), maxIDs) {
			docs, err := find[document](ctx, s.db.Collection(mirrorName(of.source, of.kind)), bson.D{among(chunk)},
				options.Find().SetProjection(bson.D{{Key: "erased", Value: 1}}))
			if err != nil {
				return nil, err
			}
			for _, d := range docs {
				if d.Erased != nil {
					erased[event.LocalKey(of.source, of.kind, d.ID)] = true
				}
			}
		}
	}
	return erased, nil
}
