package mongo_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
)

// TestOfTwoFetchesOfOneClaimTheLaterWins puts a document back to an older
// copy of itself while a fetch is under way, whose claim is then given out
// again.
func TestOfTwoFetchesOfOneClaimTheLaterWins(t *testing.T) {
	database := newDatabase(t)
	s := open(t, database, mongo.Options{})
	client, err := driver.Connect(options.Client().ApplyURI(server.URI(database)))
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Disconnect(context.WithoutCancel(t.Context()))) }()
	documents := client.Database(database).Collection("mirror_lemon_order")

	claim := func() int64 {
		doc, err := s.Claim(t.Context(), order("o1"))
		require.NoError(t, err)
		return doc.Claim
	}
	write := func(claim int64, sent int) bool {
		done, err := s.Write(t.Context(), &storage.Write{
			Ref: order("o1"), Claim: claim, SentAt: start.Add(time.Duration(sent) * time.Second), Raw: []byte{'0' + byte(sent)}, StateHash: "h",
		})
		require.NoError(t, err)
		return done.Applied
	}
	state := func() string {
		doc, err := s.Entity(t.Context(), order("o1").Key)
		require.NoError(t, err)
		return string(doc.Raw)
	}
	require.True(t, write(claim(), 1))
	var older bson.Raw
	require.NoError(t, documents.FindOne(t.Context(), bson.D{{Key: "_id", Value: "o1"}}).Decode(&older))
	for name, play := range map[string]func(){
		"the older answer comes second": func() {
			require.True(t, write(claim(), 9))
			require.False(t, write(2, 2))
			require.True(t, write(2, 9), "the later may say it twice")
		},
		"the older answer comes first": func() {
			require.EqualValues(t, 2, claim())
			require.True(t, write(2, 2), "it is newer than what the copy has")
			require.True(t, write(2, 9))
		},
	} {
		require.EqualValues(t, 2, claim(), name) // and is under way
		_, err := documents.ReplaceOne(t.Context(), bson.D{{Key: "_id", Value: "o1"}}, older)
		require.NoError(t, err)
		require.False(t, write(2, 2), "the copy never gave it out")
		play()
		require.Equal(t, "9", state(), name)
		_, err = documents.ReplaceOne(t.Context(), bson.D{{Key: "_id", Value: "o1"}}, older)
		require.NoError(t, err)
	}
}
