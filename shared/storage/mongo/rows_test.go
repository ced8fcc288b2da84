package mongo_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
)

// TestRowsAreNotOverwritten has several processes change one row at once, each
// after reading it: no change may be lost.
func TestRowsAreNotOverwritten(t *testing.T) {
	const stores, each = 3, 5
	database := newDatabase(t)
	first := open(t, database, mongo.Options{})
	_, err := first.Log(t.Context(), []storage.Arrival{arrival("evt_1", order("o1"))})
	require.NoError(t, err)
	var g errgroup.Group
	for n := range stores {
		s := open(t, database, mongo.Options{})
		g.Go(func() error {
			for i := range each {
				a := arrival("evt_1", order("o1"))
				a.Signal.ID = fmt.Sprintf("2-%d-%d", n, i)
				if _, err := s.Log(t.Context(), []storage.Arrival{a}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	rows, err := first.EventByID(t.Context(), "lemon", "evt_1")
	require.NoError(t, err)
	require.EqualValues(t, stores*each, rows[0].Duplicates)
}

// TestANoteHalfDoneIsCounted: whichever step failed between the audit and the row, a
// note that comes again is counted, and once.
func TestANoteHalfDoneIsCounted(t *testing.T) {
	database := newDatabase(t)
	s := open(t, database, mongo.Options{})
	_, err := s.Log(t.Context(), []storage.Arrival{arrival("evt_1", order("o1"))})
	require.NoError(t, err)
	client, err := driver.Connect(options.Client().ApplyURI(server.URI(database)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Disconnect(context.WithoutCancel(t.Context()))) })
	_, err = client.Database(database).Collection("audit").InsertOne(t.Context(), bson.D{{Key: "_id", Value: "n1"}})
	require.NoError(t, err)
	notes := []storage.Note{
		{ID: "n1", Source: "lemon", Kind: storage.NoteDuplicate, EventID: "evt_1", Count: 2},
		{ID: "n2", Source: "lemon", Kind: storage.NoteDuplicate, EventID: "evt_1"},
	}
	for range 3 {
		require.NoError(t, s.Note(t.Context(), notes))
		rows, err := s.EventByID(t.Context(), "lemon", "evt_1")
		require.NoError(t, err)
		require.EqualValues(t, 3, rows[0].Duplicates)
	}
}
