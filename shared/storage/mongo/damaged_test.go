package mongo_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

// A field damaged in the database is skipped and written again; what cannot be read
// around is no reason to wait.
func TestWhatCannotBeRead(t *testing.T) {
	database := newDatabase(t)
	s := open(t, database, mongo.Options{})
	db := owner(t, database)
	fields := []string{"parents", "status", "terminal", "terminal_at", "deleted_at", "synced_claim", "state_hash", "synced_at", "verified_at", "last_event", "behind", "doubted_at", "open_letters"}
	storetest.Damaged(t, s, fields, func(t *testing.T, id, field string) {
		var value any = "many"
		if field == "status" || field == "state_hash" {
			value = int32(7)
		}
		_, err := db.Collection("mirror_lemon_order").UpdateOne(t.Context(), bson.D{{Key: "_id", Value: id}},
			bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: value}}}})
		require.NoError(t, err)
	})

	arrival := storage.Arrival{Event: &event.Event{Source: "lemon", ID: "evt_1", Type: "x", Entities: []event.Ref{order("o1")}}}
	_, err := s.Log(t.Context(), []storage.Arrival{arrival})
	require.NoError(t, err)
	_, err = db.Collection("events").UpdateOne(t.Context(), bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "attempts", Value: "many"}}}})
	require.NoError(t, err)
	_, err = s.EventByID(t.Context(), "lemon", "evt_1")
	class, _ := fate.Of(err)
	require.Equal(t, fate.Permanent, class, "%v", err)
	require.ErrorContains(t, err, "lemon/evt_1", "it is named")
	_, err = s.Log(t.Context(), []storage.Arrival{arrival})
	class, _ = fate.Of(err)
	require.Equal(t, fate.Permanent, class, "%v", err)
}
