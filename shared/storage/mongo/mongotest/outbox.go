package mongotest

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// OutboxRow is a document of the collection outbox. What is "" is left out.
type OutboxRow struct {
	Key, Source, Kind, Op, Ref, ID, Body string
	Parents                              map[string]string
	Seq                                  int64
}

// Leave adds a row to the outbox of a database, as an application does with a client of its
// own: by itself, since this server has no transactions. A row that is there stays as it is.
func (s *Server) Leave(ctx context.Context, database string, r OutboxRow) (err error) {
	client, err := mongo.Connect(options.Client().ApplyURI(s.URI(database)))
	if err != nil {
		return fmt.Errorf("leave %s in the outbox: %w", r.Key, err)
	}
	defer func() { err = errors.Join(err, client.Disconnect(context.WithoutCancel(ctx))) }()
	doc := bson.D{{Key: "_id", Value: r.Key}, {Key: "source", Value: r.Source}, {Key: "kind", Value: r.Kind}, {Key: "op", Value: r.Op}, {Key: "seq", Value: r.Seq}}
	for _, f := range []struct{ name, value string }{{"ref", r.Ref}, {"id", r.ID}, {"body", r.Body}} {
		if f.value != "" {
			doc = append(doc, bson.E{Key: f.name, Value: f.value})
		}
	}
	if len(r.Parents) > 0 {
		doc = append(doc, bson.E{Key: "parents", Value: r.Parents})
	}
	_, err = client.Database(database).Collection("outbox").InsertOne(ctx, doc)
	if err != nil && !mongo.IsDuplicateKeyError(err) {
		return fmt.Errorf("leave %s in the outbox: %w", r.Key, err)
	}
	return nil
}
