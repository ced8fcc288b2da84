package mongo_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

// application is a client of a database that is not Tarn's store.
func application(t *testing.T, database string) *driver.Collection {
	t.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(server.URI(database)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Disconnect(t.Context())) })
	return client.Database(database).Collection("outbox")
}

func TestOutbox(t *testing.T) {
	storetest.RunOutbox(t, func(t *testing.T) (storage.Store, storetest.Insert) {
		database := newDatabase(t)
		stop := server.Record(database)
		t.Cleanup(func() { require.Empty(t, mongotest.Unbounded(stop(), passedOver)) })
		s, outbox := open(t, database, mongo.Options{}), application(t, database)
		return s, func(t *testing.T, fields map[string]any) {
			t.Helper()
			doc := bson.M{}
			for name, value := range fields {
				doc[map[bool]string{true: "_id", false: name}[name == "key"]] = value
			}
			_, err := outbox.InsertOne(t.Context(), doc)
			require.NoError(t, err)
		}
	})
}

// What an application inserts as values of its own language becomes JSON, or is named.
func TestOutboxValues(t *testing.T) {
	database := newDatabase(t)
	s, outbox := open(t, database, mongo.Options{}), application(t, database)
	id := bson.NewObjectID()
	for _, c := range []struct {
		name  string
		field string
		value any
		want  string // of the body, or of the problem
	}{
		{"values", "body", bson.D{
			{Key: "z", Value: int32(1)}, {Key: "a", Value: int64(1) << 60}, {Key: "f", Value: 1.25}, {Key: "t", Value: "\"<é"}, {Key: "n", Value: nil},
			{Key: "b", Value: true}, {Key: "l", Value: bson.A{bson.D{}, "x"}},
		}, `{"z":1,"a":1152921504606846976,"f":1.25,"t":"\"\u003cé","n":null,"b":true,"l":[{},"x"]}`},
		{"text", "body", `{"price": 1.10}`, `{"price": 1.10}`},
		{"time", "body", bson.D{{Key: "a", Value: bson.D{{Key: "at", Value: time.Now()}}}}, "body.a.at is of type UTC datetime, and JSON has no such value: write it as the provider wants it"},
		{"bytes", "body", bson.D{{Key: "a", Value: bson.A{bson.Binary{Data: []byte("x")}}}}, "body.a.0 is of type binary, and JSON has no such value: write it as the provider wants it"},
		{"list", "body", bson.A{1}, "body is of type array: want an object, or JSON as a text"},
		{"op", "op", 7, "op is of type 32-bit integer: want a text"},
		{"parent", "parents", bson.D{{Key: "account", Value: 7}}, "parents.account is of type 32-bit integer: want a text"},
		{"colour", "colour", "blue", "colour is no field of a row"},
		{"key", "_id", id, ""},
		{"number", "_id", 7, "_id is of type 32-bit integer: want a text, which is the key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := bson.M{"_id": c.name, "source": "lemon", "kind": "order", "op": "cancel", "id": "o1"}
			doc[c.field] = c.value
			_, err := outbox.InsertOne(t.Context(), doc)
			require.NoError(t, err)
			rows, err := s.OutboxRows(t.Context(), "lemon", 10)
			require.NoError(t, err)
			require.Len(t, rows, 1)
			if rows[0].Problem == "" {
				require.Equal(t, c.want, string(rows[0].Body))
			} else {
				require.Equal(t, c.want, rows[0].Problem)
			}
			if c.name == "key" {
				require.Equal(t, id.Hex(), rows[0].Key)
			}
			require.NoError(t, s.RemoveOutbox(t.Context(), rows[0].Handle))
			n, err := outbox.CountDocuments(t.Context(), bson.D{})
			require.NoError(t, err)
			require.Zero(t, n)
		})
	}
}
