package mongo

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
)

// The server's codes that index reads.
const (
	codeIndexNotFound        = 27
	codeNamespaceNotFound    = 26
	codeIndexOptionsConflict = 85
	codeIndexKeyConflict     = 86
	codeCommandNotSupported  = 115
	codeCannotCreateIndex    = 67
	codeNotImplemented       = 238
)

// retentionIndex is the name of the index by which MongoDB removes the old.
const retentionIndex = "retention"

// index makes what the queries of this package and the customer's need. A
// server that lacks a kind of index is told so in the log: the store works
// without it, only slower, or keeps the past for ever.
func (s *Store) index(ctx context.Context, keep mirror.Retention) error {
	open := bson.D{{Key: "open", Value: bson.D{{Key: "$gt", Value: 0}}}}
	// Neither open nor dead: what somebody may still want to redrive stays.
	settled := bson.D{{Key: "open", Value: 0}, {Key: "tally.dead", Value: 0}}
	// Filters with $in would need a server of 6.0 or later.
	closed := bson.D{{Key: "closed_at", Value: bson.D{{Key: "$exists", Value: true}}}}
	// Dropped, failed or repaired, between confirmed and suspected: what is not
	// settled yet stays.
	judged := bson.D{{Key: "status", Value: bson.D{{Key: "$gt", Value: mirror.Confirmed}, {Key: "$lt", Value: mirror.Suspected}}}}
	return errors.Join(
		s.makeIndexes(ctx, s.events,
			plainIndex("received_at:-1", "_id:-1"),
			plainIndex("status", "received_at:-1", "_id:-1"),
			plainIndex("keys", "received_at:-1", "_id:-1"),
			plainIndex("id"),
			mongo.IndexModel{
				Keys:    bson.D{{Key: "source", Value: 1}, {Key: "received_at", Value: 1}, {Key: "_id", Value: 1}},
				Options: options.Index().SetName("open_by_source").SetPartialFilterExpression(open),
			}),
		s.makeIndexes(ctx, s.letters,
			plainIndex("entity", "status"), plainIndex("status", "at:-1", "_id:-1"), plainIndex("at:-1", "_id:-1")),
		s.makeIndexes(ctx, s.discrepancies,
			plainIndex("found_at:-1", "_id:-1"), plainIndex("status", "found_at:-1", "_id:-1"),
			plainIndex("entity", "found_at:-1", "_id:-1"), plainIndex("sweep", "found_at:-1", "_id:-1")),
		s.makeIndexes(ctx, s.tasks, plainIndex("created_at:-1", "_id:-1"), plainIndex("status", "created_at:-1", "_id:-1"), plainIndex("parent")),
		s.retain(ctx, s.events, "received_at", keep.Events, settled),
		s.retain(ctx, s.letters, "at", keep.Events, closed),
		s.retain(ctx, s.audit, "at", keep.Audit, nil),
		s.retain(ctx, s.discrepancies, "found_at", keep.Discrepancies, judged),
	)
}

// livingIndex is of the fields by which the stalest living document is found.
var livingIndex = []string{"terminal_at", "deleted_at", "verified_at"}

// mirrorOf returns the collection of an entity's kind and sees to its indexes
// when it is first written to: those every kind has, and one for each kind of
// parent, since lists are asked for by parent.
//
// On a collection that is large already, as after an upgrade that brings an
// index, that may take long. Whatever wants this collection waits then, without
// an attempt spent and however long it takes; other kinds go on, since all wait
// for one command and hold no further connection.
func (s *Store) mirrorOf(ctx context.Context, ref event.Ref) (*mongo.Collection, error) {
	c := s.db.Collection(mirrorName(ref.Key.Source, ref.Key.Kind))
	indexes := [][]string{{"status"}, livingIndex}
	for kind := range ref.Parents {
		indexes = append(indexes, []string{"parents." + escapeField(kind)})
	}
	for _, fields := range indexes {
		if err := s.seeTo(ctx, c, fields); err != nil {
			return nil, classify(ctx, err)
		}
	}
	return c, nil
}

// seeTo makes an index unless that was done before, together with all who want
// it at the same time. If whoever asks first gives up, the others are told that
// the store is away, and ask again.
func (s *Store) seeTo(ctx context.Context, c *mongo.Collection, fields []string) error {
	name := c.Name() + " " + strings.Join(fields, " ")
	if _, seen := s.indexed.Load(name); seen {
		return nil
	}
	made := s.building.DoChan(name, func() (any, error) {
		err := s.makeIndex(ctx, c, plainIndex(fields...))
		if err == nil {
			s.indexed.Store(name, true)
		}
		return nil, err
	})
	select {
	case done := <-made:
		return done.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// plainIndex is an index on fields in ascending order, or descending with ":-1".
func plainIndex(fields ...string) mongo.IndexModel {
	var keys bson.D
	for _, f := range fields {
		name, descending := strings.CutSuffix(f, ":-1")
		order := 1
		if descending {
			order = -1
		}
		keys = append(keys, bson.E{Key: name, Value: order})
	}
	return mongo.IndexModel{Keys: keys}
}

// oneOf is a filter on a field having one of some values.
func oneOf[T ~string](field string, values ...T) bson.D {
	return bson.D{{Key: field, Value: bson.D{{Key: "$in", Value: values}}}}
}

// makeIndexes makes them one by one, so that one the server lacks does not
// cost the others.
func (s *Store) makeIndexes(ctx context.Context, c *mongo.Collection, models ...mongo.IndexModel) error {
	for _, m := range models {
		if err := s.makeIndex(ctx, c, m); err != nil {
			return err
		}
	}
	return nil
}

// makeIndex makes an index, which returns when it is built. Building takes a
// time of its own: under that of other calls a large collection would never
// have its indexes, since the server stops what nobody waits for.
func (s *Store) makeIndex(ctx context.Context, c *mongo.Collection, m mongo.IndexModel) error {
	ctx, cancel := context.WithTimeout(ctx, buildWithin)
	defer cancel()
	_, err := c.Indexes().CreateOne(ctx, m)
	if isUnsupported(err) {
		s.log.Warn("the server lacks a kind of index; the store works without it", "collection", c.Name(), "index", m.Keys, "error", err)
		return nil
	}
	return err
}

// retain makes MongoDB remove documents of that age which match the filter,
// or, for 0, none. MongoDB looks about once a minute.
func (s *Store) retain(ctx context.Context, c *mongo.Collection, field string, age time.Duration, only bson.D) error {
	if age <= 0 {
		return s.dropRetention(ctx, c)
	}
	opts := options.Index().SetName(retentionIndex).SetExpireAfterSeconds(int32(age / time.Second))
	if only != nil {
		opts.SetPartialFilterExpression(only)
	}
	model := mongo.IndexModel{Keys: bson.D{{Key: field, Value: 1}}, Options: opts}
	err := s.makeIndex(ctx, c, model)
	if !hasCode(err, codeIndexOptionsConflict, codeIndexKeyConflict) {
		return err
	}
	// It is there with another age: an index cannot be changed everywhere, but
	// it can be replaced.
	if err := s.dropRetention(ctx, c); err != nil {
		return err
	}
	return s.makeIndex(ctx, c, model)
}

func (s *Store) dropRetention(ctx context.Context, c *mongo.Collection) error {
	err := c.Indexes().DropOne(ctx, retentionIndex)
	if hasCode(err, codeIndexNotFound, codeNamespaceNotFound) {
		return nil
	}
	return err
}

// isUnsupported reports whether the server does not know what was asked.
func isUnsupported(err error) bool {
	return hasCode(err, codeNotImplemented, codeCommandNotSupported, codeCannotCreateIndex)
}

func hasCode(err error, codes ...int) bool {
	var server mongo.ServerError
	if !errors.As(err, &server) {
		return false
	}
	for _, code := range codes {
		if server.HasErrorCode(code) {
			return true
		}
	}
	return false
}
