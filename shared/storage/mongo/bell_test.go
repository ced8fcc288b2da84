package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
)

// The server of these tests refuses change streams. Its answers are scripted here as the
// driver's specification has them; no replica set was asked.

// bells are the two that a store has.
var bells = map[string]func(*mongo.Store) func(context.Context, func()) error{
	"outbox": func(s *mongo.Store) func(context.Context, func()) error { return s.WatchOutbox },
	"feed": func(s *mongo.Store) func(context.Context, func()) error {
		return func(ctx context.Context, ring func()) error { return s.WatchFeed(ctx, "lemon", ring) }
	},
}

// changeStream answers as a server that has change streams: what is in events is in the
// next answer, and an answer waits a little for that.
func changeStream(t *testing.T, database, collection string, events <-chan bson.D) {
	t.Helper()
	cursor := func(name string, batch bson.A) bson.D {
		return bson.D{{Key: "ok", Value: 1}, {Key: "cursor", Value: bson.D{
			{Key: "id", Value: int64(7)}, {Key: "ns", Value: database + "." + collection}, {Key: name, Value: batch},
		}}}
	}
	t.Cleanup(server.Answer(mongotest.Answer{Database: database, Command: "aggregate", Reply: cursor("firstBatch", bson.A{})}))
	t.Cleanup(server.Answer(mongotest.Answer{Database: database, Command: "killCursors", Reply: bson.D{{Key: "ok", Value: 1}}}))
	t.Cleanup(server.Answer(mongotest.Answer{Database: database, Command: "getMore", Next: func() bson.D {
		select {
		case e := <-events:
			if e[0].Key == "ok" {
				return e
			}
			return cursor("nextBatch", bson.A{e})
		case <-time.After(50 * time.Millisecond):
			return cursor("nextBatch", bson.A{})
		}
	}}))
}

func insertedEvent(token string) bson.D {
	return bson.D{{Key: "_id", Value: bson.D{{Key: "_data", Value: token}}}}
}

// A bell rings once it listens and for what is inserted. One that has been silent for longer
// than a command may take is still heard, and says when it is not any more.
func TestBells(t *testing.T) {
	for name, bell := range bells {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const within = 15 * time.Second
			database := newDatabase(t)
			s, err := mongo.Open(t.Context(), strings.Replace(server.URI(database), "timeoutMS=60000", fmt.Sprint("timeoutMS=", within.Milliseconds()), 1),
				mongo.Options{BulkSize: bulkSize, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			events := make(chan bson.D)
			changeStream(t, database, name, events)
			sent := server.Record(database)
			rung, broke := make(chan struct{}, 10), make(chan error, 1)
			go func() { broke <- bell(s)(t.Context(), func() { rung <- struct{}{} }) }()
			heard := func(what string) {
				t.Helper()
				select {
				case <-rung:
				case err := <-broke:
					require.FailNow(t, what, "it broke off: %v", err)
				case <-time.After(time.Minute):
					require.FailNow(t, what)
				}
			}
			heard("it listens")
			events <- insertedEvent("1")
			heard("an insert")
			select {
			case err := <-broke:
				require.FailNow(t, "silence is no end", "%v", err)
			case <-time.After(within + time.Second):
			}
			events <- insertedEvent("2")
			heard("an insert after a long silence")
			require.Empty(t, rung)
			events <- bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: 286}, {Key: "codeName", Value: "ChangeStreamHistoryLost"}, {Key: "errmsg", Value: "the oplog does not reach so far"}}
			select {
			case err := <-broke:
				require.True(t, storage.IsAway(err), "%v", err)
				require.NotErrorIs(t, err, storage.ErrNoBell)
			case <-time.After(time.Minute):
				require.FailNow(t, "it does not say that it is over")
			}
			first := sent()[0]
			require.Equal(t, "aggregate", first.Name)
			asked := first.Body.Lookup("pipeline").String()
			require.Contains(t, asked, "$changeStream")
			require.Equal(t, name == "feed", strings.Contains(asked, `"fullDocument.source": "lemon"`), asked)
		})
	}
}

// A server that has no change streams, or not for this user, is not asked for them again; one
// that cannot answer now is.
func TestWhatIsNoBell(t *testing.T) {
	for name, c := range map[string]struct {
		code int
		none bool
	}{
		"a standalone server":        {40573, true},
		"a server without the stage": {40324, true},
		"an unknown command":         {59, true},
		"not supported":              {115, true},
		"not implemented":            {238, true},
		"not authorised":             {13, true},
		"out of quota":               {8000, false},
	} {
		t.Run(name, func(t *testing.T) {
			database := newDatabase(t)
			s := open(t, database, mongo.Options{})
			t.Cleanup(server.Answer(mongotest.Answer{Database: database, Command: "aggregate", Reply: bson.D{
				{Key: "ok", Value: 0}, {Key: "code", Value: c.code}, {Key: "codeName", Value: "X"}, {Key: "errmsg", Value: "no"},
			}}))
			for _, bell := range bells {
				err := bell(s)(t.Context(), func() { require.Fail(t, "it rings") })
				require.Error(t, err)
				require.Equal(t, c.none, errors.Is(err, storage.ErrNoBell), "%v", err)
			}
		})
	}
}
