package mongo_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

// MongoDB removes old commands itself, by an index that the store asks for; the server of
// these tests knows no such index. So the index is read from the command, and followed as
// MongoDB's documentation says: a document that its filter selects goes once its date is
// older than the index says, and one without a date never does.
func TestOldCommandsAreRemoved(t *testing.T) {
	storetest.RunRetention(t, func(t *testing.T) (storage.Store, storetest.Age) {
		database := newDatabase(t)
		stop := server.Record(database)
		s := open(t, database, mongo.Options{Retention: storage.Retention{Commands: storetest.CommandsKept}})
		var index struct {
			Key                     bson.D
			ExpireAfterSeconds      int64  `bson:"expireAfterSeconds"`
			PartialFilterExpression bson.D `bson:"partialFilterExpression"`
		}
		for _, c := range stop() {
			if c.Name != "createIndexes" || c.Body.Lookup("createIndexes").StringValue() != "commands" {
				continue
			}
			indexes, err := c.Body.Lookup("indexes").Array().Values()
			require.NoError(t, err)
			for _, x := range indexes {
				if _, err := x.Document().LookupErr("expireAfterSeconds"); err == nil {
					require.NoError(t, bson.Unmarshal(x.Document(), &index))
				}
			}
		}
		require.Len(t, index.Key, 1, "an index of more than one field removes nothing")
		commands := application(t, database).Database().Collection("commands")
		return s, func(t *testing.T, now time.Time) {
			t.Helper()
			before := now.Add(-time.Duration(index.ExpireAfterSeconds) * time.Second)
			_, err := commands.DeleteMany(t.Context(), append(index.PartialFilterExpression[:len(index.PartialFilterExpression):len(index.PartialFilterExpression)],
				bson.E{Key: index.Key[0].Key, Value: bson.D{{Key: "$type", Value: "date"}, {Key: "$lt", Value: before}}}))
			require.NoError(t, err)
		}
	})
}
