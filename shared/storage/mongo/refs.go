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

// ref is the address of a lane as stored.
type ref struct {
	ID string `bson:"_id"` // source/kind/id, or source/kind/~ref
	// N is the number of the lane's newest command.
	N int64 `bson:"n"`
	// Entity is what a ref names, source/kind/id. Bound: it names something.
	Entity  string            `bson:"entity,omitempty"`
	Bound   bool              `bson:"bound,omitempty"`
	Parents map[string]string `bson:"parents,omitempty"`
	BoundBy string            `bson:"bound_by,omitempty"`
	BoundAt time.Time         `bson:"bound_at,omitempty"`
}

func (r *ref) mirror() (*storage.Ref, error) {
	out := &storage.Ref{N: r.N, Parents: unescapeKeys(r.Parents), By: r.BoundBy, At: r.BoundAt}
	var err error
	if out.Lane, err = event.ParseKey(r.ID); err == nil && r.Bound {
		out.Entity, err = event.ParseKey(r.Entity)
	}
	if err != nil {
		return nil, fate.Errorf(fate.Permanent, "ref %s cannot be read: %w", r.ID, err)
	}
	return out, nil
}

// Ref returns the address of a lane.
func (s commands) Ref(ctx context.Context, lane event.Key) (*storage.Ref, error) {
	return s.ref(ctx, lane, bson.D{{Key: "_id", Value: lane.String()}})
}

// RefTo returns a ref that names an entity.
func (s commands) RefTo(ctx context.Context, entity event.Key) (*storage.Ref, error) {
	return s.ref(ctx, entity, bson.D{{Key: "entity", Value: entity.String()}, {Key: "bound", Value: true}})
}

func (s commands) ref(ctx context.Context, k event.Key, filter bson.D) (*storage.Ref, error) {
	var r ref
	raw, err := s.refs.FindOne(ctx, filter).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, fmt.Errorf("read ref %s: %w", k, storage.ErrNotFound)
	}
	if err == nil {
		err = decode(s.refs, raw, &r)
	}
	if err != nil {
		return nil, fmt.Errorf("read ref %s: %w", k, classify(ctx, err))
	}
	return r.mirror()
}

// Bind has a ref name an entity, unless it names one.
func (s commands) Bind(ctx context.Context, r storage.Ref) (*storage.Ref, error) {
	bound, err := s.bind(ctx, r, bson.D{{Key: "_id", Value: r.Lane.String()}, {Key: "bound", Value: bson.D{{Key: "$ne", Value: true}}}})
	if mongo.IsDuplicateKeyError(err) { // it is there, and it names one
		bound, err = s.Ref(ctx, r.Lane)
	}
	if err != nil {
		return nil, fmt.Errorf("bind ref %s: %w", r.Lane, classify(ctx, err))
	}
	return bound, s.ring(ctx, r)
}

// Rebind has a ref name another entity.
func (s commands) Rebind(ctx context.Context, r storage.Ref) (*storage.Ref, error) {
	bound, err := s.bind(ctx, r, bson.D{{Key: "_id", Value: r.Lane.String()}})
	if err != nil {
		return nil, fmt.Errorf("bind ref %s: %w", r.Lane, classify(ctx, err))
	}
	return bound, s.ring(ctx, r)
}

func (s commands) bind(ctx context.Context, r storage.Ref, filter bson.D) (*storage.Ref, error) {
	if err := checkText(r.Lane.String(), r.Entity.String()); err != nil {
		return nil, err
	}
	set := bson.D{
		{Key: "entity", Value: r.Entity.String()}, {Key: "bound", Value: true}, {Key: "bound_by", Value: r.By}, {Key: "bound_at", Value: r.At},
		{Key: "parents", Value: escapeKeys(r.Parents)},
	}
	var bound ref
	err := s.refs.FindOneAndUpdate(ctx, filter, bson.D{{Key: "$set", Value: set}},
		options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&bound)
	if err != nil {
		return nil, err
	}
	return bound.mirror()
}

// ring makes the commands that wait for a ref due. It comes after the binding, so that a
// repetition completes what was cut off.
func (s commands) ring(ctx context.Context, r storage.Ref) error {
	name, _ := storage.RefOfLane(r.Lane)
	_, err := s.commands.UpdateMany(ctx, bson.D{
		{Key: "waits_on", Value: waitsOn(r.Lane.Source, r.Lane.Kind+"/"+name)}, {Key: "waiting", Value: true},
	}, bson.D{{Key: "$set", Value: bson.D{{Key: "due_at", Value: r.At}}}, {Key: "$inc", Value: bson.D{{Key: "rev", Value: 1}}}})
	if err != nil {
		return fmt.Errorf("wake what waits for ref %s: %w", r.Lane, classify(ctx, err))
	}
	return nil
}
