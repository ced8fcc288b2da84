package mongo_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	drivevent "go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

var start = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func order(id string) event.Ref {
	return event.Ref{
		Key: event.Key{Source: "lemon", Kind: "order", ID: id}, Parents: map[string]string{"account": "cusa_1"},
	}
}

func arrival(id string, refs ...event.Ref) storage.Arrival {
	return storage.Arrival{
		Event: &event.Event{
			Source: "lemon", ID: id, Type: "order.executed", CreatedAt: start, ReceivedAt: start,
			Entities: refs, Payload: []byte(`{}`),
		},
		Signal: storage.SignalID{Shard: 1, ID: "1-" + id},
	}
}

// counter counts commands as the driver sends them.
type counter struct {
	mu    sync.Mutex
	names []string
}

func (c *counter) monitor() *drivevent.CommandMonitor {
	return &drivevent.CommandMonitor{Started: func(_ context.Context, e *drivevent.CommandStartedEvent) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.names = append(c.names, e.CommandName)
	}}
}

func (c *counter) take() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := c.names
	c.names = nil
	return names
}

// TestRoundTrips counts the commands of a batch the whole way: two for each
// entity, three for one that is new, and a constant for the batch, however many
// events there are.
func TestRoundTrips(t *testing.T) {
	const constant = 3 // one insert, two updates
	for _, c := range []struct{ events, entities int }{{1, 1}, {12, 1}, {24, 4}, {24, 12}} {
		t.Run(fmt.Sprintf("%d events of %d entities", c.events, c.entities), func(t *testing.T) {
			var sent counter
			s := open(t, newDatabase(t), mongo.Options{Monitor: sent.monitor(), BulkSize: mongotest.BulkSize})
			_, err := s.Claim(t.Context(), order("first")) // makes the collection's indexes
			require.NoError(t, err)
			sent.take()
			runBatch(t, s, c.events, c.entities)
			names := sent.take()
			require.LessOrEqual(t, len(names), 3*c.entities+constant, names)

			page, err := s.Events(t.Context(), storage.EventFilter{Status: storage.Processed})
			require.NoError(t, err)
			require.Len(t, page.Items, c.events)
			sent.take()

			_, err = s.Log(t.Context(), []storage.Arrival{arrival("evt_0", order("o0"))})
			require.NoError(t, err)
			require.Equal(t, []string{"insert", "find"}, sent.take(), "an event that is there already")
		})
	}
}

func runBatch(t *testing.T, s storage.Store, events, entities int) {
	t.Helper()
	var arrivals []storage.Arrival
	for i := range events {
		arrivals = append(arrivals, arrival(fmt.Sprintf("evt_%d", i), order(fmt.Sprintf("o%d", i%entities))))
	}
	_, err := s.Log(t.Context(), arrivals)
	require.NoError(t, err)
	claims := make([]int64, entities)
	for i := range claims {
		doc, err := s.Claim(t.Context(), order(fmt.Sprintf("o%d", i)))
		require.NoError(t, err)
		claims[i] = doc.Claim
		done, err := s.Write(t.Context(), &storage.Write{
			Ref: order(fmt.Sprintf("o%d", i)), Claim: doc.Claim, SentAt: start, Raw: []byte(`{"price":1.10,"quantity":3}`), StateHash: "h",
		})
		require.NoError(t, err)
		require.True(t, done.Applied)
	}
	var done []storage.Settlement
	for i, a := range arrivals {
		done = append(done, storage.Settlement{
			Source: "lemon", EventID: a.Event.ID, Entity: a.Event.Entities[0].Key, Signal: a.Signal, At: start,
			CoveredBy: storage.Covered{Claim: claims[i%entities], FetchedAt: start, Signal: a.Signal.ID},
		})
	}
	require.NoError(t, s.Settle(t.Context(), done))
}

// TestCommands looks at what is sent rather than at what comes of it: the
// things FerretDB accepts but does not do.
func TestCommands(t *testing.T) {
	database := newDatabase(t)
	s := open(t, database, mongo.Options{})
	stop := server.Record(database)
	runBatch(t, s, 25, 2)
	_, err := s.Bury(t.Context(), []storage.Letter{{Source: "lemon", EventID: "evt_0", Ref: order("o0"), At: start}})
	require.NoError(t, err)
	commands := stop()

	writes, fenced := 0, 0
	for _, c := range commands {
		switch c.Name {
		case "insert", "update", "findAndModify":
			writes++
			require.Equal(t, "majority", c.Body.Lookup("writeConcern", "w").StringValue(), "%s", c.Body)
		}
		if c.Name != "update" {
			continue
		}
		updates, err := c.Body.Lookup("updates").Array().Values()
		require.NoError(t, err)
		require.LessOrEqual(t, len(updates), bulkSize)
		for _, u := range updates {
			_, isPipeline := u.Document().Lookup("u").ArrayOK()
			require.False(t, isPipeline, "a pipeline update needs a newer server")
			_, claim := u.Document().Lookup("q", "claim").Int64OK()
			if _, state := u.Document().Lookup("u", "$set", "raw").StringValueOK(); state {
				require.True(t, claim, "a state was written without the fence: %s", u)
				fenced++
			}
		}
	}
	require.NotZero(t, writes)
	require.Equal(t, 2, fenced)
}

// updatesOf are the update commands among those sent, each as its statements.
func updatesOf(t *testing.T, commands []mongotest.Command) (out [][]bson.Raw) {
	t.Helper()
	for _, c := range commands {
		if c.Name != "update" {
			continue
		}
		require.Equal(t, "majority", c.Body.Lookup("writeConcern", "w").StringValue(), "%s", c.Body)
		values, err := c.Body.Lookup("updates").Array().Values()
		require.NoError(t, err)
		require.LessOrEqual(t, len(values), bulkSize)
		var statements []bson.Raw
		for _, v := range values {
			statements = append(statements, v.Document())
		}
		out = append(out, statements)
	}
	return out
}

// fields are the names of a document's fields.
func fields(t *testing.T, doc bson.Raw) (names []string) {
	t.Helper()
	elements, err := doc.Elements()
	require.NoError(t, err)
	for _, e := range elements {
		names = append(names, e.Key())
	}
	return names
}

// TestVerifyTouchesNothingElse: what the reconciler writes to the mirror is
// verified_at, if the state is still the compared one, in one command a kind.
func TestVerifyTouchesNothingElse(t *testing.T) {
	database := newDatabase(t)
	s := open(t, database, mongo.Options{})
	var same []storage.Verified
	for i := range bulkSize {
		same = append(same, storage.Verified{Key: order(fmt.Sprintf("o%d", i)).Key, StateHash: "h", Deleted: i == 0, At: start})
	}
	stop := server.Record(database)
	_, err := s.Verify(t.Context(), same)
	require.NoError(t, err)
	commands := stop()
	require.Len(t, commands, 1)
	for i, u := range updatesOf(t, commands)[0] {
		require.Equal(t, []string{"_id", "state_hash", "deleted_at"}, fields(t, u.Lookup("q").Document()))
		require.Equal(t, i == 0, u.Lookup("q", "deleted_at", "$exists").Boolean())
		require.Equal(t, []string{"$max"}, fields(t, u.Lookup("u").Document()))
		require.Equal(t, []string{"verified_at"}, fields(t, u.Lookup("u", "$max").Document()))
	}
}

// TestBatchesAreFewCommands: a call for many costs one command per bulk, not one
// each, and no command is larger than a bulk.
func TestBatchesAreFewCommands(t *testing.T) {
	const n = 2*bulkSize + 1
	database := newDatabase(t)
	s := open(t, database, mongo.Options{})
	var ids []string
	var found []storage.Discrepancy
	var again []storage.Requeue
	var keys []event.Key
	for i := range n {
		id := fmt.Sprintf("d%d", i)
		ids, keys = append(ids, id), append(keys, order(id).Key)
		found = append(found, storage.Discrepancy{ID: id, Source: "lemon", Type: storage.Stale, FoundAt: start})
		again = append(again, storage.Requeue{Source: "lemon", EventID: id, Entity: order(id).Key, Signal: storage.SignalID{ID: "1-0"}})
	}
	for _, c := range []struct {
		name  string
		names []string
		call  func() error
	}{
		{"record", []string{"insert", "insert", "insert"}, func() error { return s.Record(t.Context(), found) }},
		{"repair", []string{"update"}, func() error { return s.Repair(t.Context(), ids, true, start) }},
		{"judge", []string{"update", "find"}, func() error { _, err := s.Judge(t.Context(), ids, nil, start); return err }},
		{"requeued", []string{"update", "update", "update"}, func() error { return s.Requeued(t.Context(), again) }},
		{"known events", []string{"find"}, func() error { _, err := s.KnownEvents(t.Context(), "lemon", ids); return err }},
		{"homes", []string{"find"}, func() error { _, err := s.Homes(t.Context(), "lemon", ids); return err }},
		{"documents", []string{"find"}, func() error { _, err := s.Documents(t.Context(), keys); return err }},
		{"unsettled", []string{"find"}, func() error { _, _, err := s.Unsettled(t.Context(), "lemon", start, 500, ""); return err }},
	} {
		stop := server.Record(database)
		require.NoError(t, c.call(), c.name)
		commands := stop()
		var names []string
		for _, command := range commands {
			names = append(names, command.Name)
		}
		require.Equal(t, c.names, names, c.name)
		updatesOf(t, commands)
	}
}

// unfenced is a store that forgets the claim filter.
type unfenced struct{ storage.Store }

func (u unfenced) Write(ctx context.Context, w *storage.Write) (storage.Written, error) {
	doc, err := u.Entity(ctx, w.Ref.Key)
	if err != nil {
		return storage.Written{}, err
	}
	naive := *w
	naive.Claim = doc.Claim
	return u.Store.Write(ctx, &naive)
}

func TestAStoreWithoutTheFenceIsFoundOut(t *testing.T) {
	require.NotEmpty(t, storetest.FenceViolations(t, unfenced{open(t, newDatabase(t), mongo.Options{})}))
}

// TestDocument is the document as its owner reads it.
func TestDocument(t *testing.T) {
	database := newDatabase(t)
	s := open(t, database, mongo.Options{})
	doc, err := s.Claim(t.Context(), order("bord_1"))
	require.NoError(t, err)
	_, err = s.Write(t.Context(), &storage.Write{
		Ref: order("bord_1"), Claim: doc.Claim, SentAt: start, StateHash: "h", Status: "open",
		Raw:       []byte(`{"id":"bord_1","price":1.10,"quantity":3,"a.b":null}`),
		LastEvent: storage.LastEvent{ID: "evt_1", Type: "order.created", CreatedAt: start},
	})
	require.NoError(t, err)

	client, err := driver.Connect(options.Client().ApplyURI(server.URI(database)))
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Disconnect(context.WithoutCancel(t.Context()))) }()
	var got bson.M
	require.NoError(t, client.Database(database).Collection("mirror_lemon_order").
		FindOne(t.Context(), bson.D{{Key: "_id", Value: "bord_1"}}).Decode(&got))
	at := bson.NewDateTimeFromTime(start)
	require.Equal(t, bson.M{
		"_id": "bord_1", "source": "lemon", "kind": "order", "parents": bson.D{{Key: "account", Value: "cusa_1"}},
		"raw": `{"id":"bord_1","price":1.10,"quantity":3,"a.b":null}`,
		"state": bson.D{
			{Key: "id", Value: "bord_1"}, {Key: "price", Value: "1.10"}, {Key: "quantity", Value: int64(3)}, {Key: "a%2Eb", Value: nil},
		},
		"status": "open", "terminal": false, "claim": int64(1), "synced_claim": int64(1), "state_hash": "h",
		"synced_at": at, "verified_at": at, "open_letters": int32(0),
		"last_event": bson.D{{Key: "created_at", Value: at}, {Key: "id", Value: "evt_1"}, {Key: "type", Value: "order.created"}},
		"version":    int64(1), "owed": true,
	}, got)
}

func TestAStateTooBigForADocumentIsRefusedForGood(t *testing.T) {
	s := open(t, newDatabase(t), mongo.Options{})
	doc, err := s.Claim(t.Context(), order("big"))
	require.NoError(t, err)
	_, err = s.Write(t.Context(), &storage.Write{Ref: order("big"), Claim: doc.Claim, SentAt: start, Raw: make([]byte, 16<<20)})
	class, _ := fate.Of(err)
	require.Equal(t, fate.Permanent, class, err)
}

func TestAServerAwayIsUnavailable(t *testing.T) {
	away, err := mongotest.Start(t.Context(), t.TempDir())
	require.NoError(t, err)
	// The time-out is long enough to open the store on a busy machine.
	s, err := mongo.Open(t.Context(), strings.Replace(away.URI("tarn"), "timeoutMS=60000", "timeoutMS=2000", 1), mongo.Options{BulkSize: bulkSize, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	_, err = s.Claim(t.Context(), order("o1"))
	require.NoError(t, err)
	require.NoError(t, away.Close())

	for name, call := range map[string]func() error{
		"claim":  func() error { _, err := s.Claim(t.Context(), order("o1")); return err },
		"log":    func() error { _, err := s.Log(t.Context(), []storage.Arrival{arrival("evt_1")}); return err },
		"settle": func() error { return s.Settle(t.Context(), []storage.Settlement{{Source: "lemon", EventID: "evt_1"}}) },
		"read":   func() error { _, err := s.Entity(t.Context(), order("o1").Key); return err },
		"ping":   func() error { return s.Ping(t.Context()) },
	} {
		err := call()
		class, _ := fate.Of(err)
		require.Equal(t, fate.Unavailable.String(), class.String(), name)
		require.NotErrorIs(t, err, storage.ErrTimeout, name)
	}
}

// TestATimeOutIsNoServerAway: one that is there and takes too long may do
// so for ever.
func TestATimeOutIsNoServerAway(t *testing.T) {
	database := newDatabase(t)
	s := open(t, database, mongo.Options{})
	t.Cleanup(server.Answer(mongotest.Answer{Database: database, Command: "find", Reply: bson.D{
		{Key: "ok", Value: 0}, {Key: "code", Value: 50}, {Key: "codeName", Value: "MaxTimeMSExpired"}, {Key: "errmsg", Value: "operation exceeded time limit"},
	}}))
	_, err := s.Documents(t.Context(), []event.Key{order("o1").Key})
	class, _ := fate.Of(err)
	require.Equal(t, fate.Unavailable.String(), class.String())
	require.ErrorIs(t, err, storage.ErrTimeout)

	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	_, err = s.Documents(ctx, []event.Key{order("o1").Key})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, storage.ErrTimeout, "the caller's own time is over")
}

// TestReadsAreOfThePrimaryAndOfAMajority whatever the URI says: a read from
// elsewhere, or of what a failover undoes, could turn the mirror back.
func TestReadsAreOfThePrimaryAndOfAMajority(t *testing.T) {
	database := newDatabase(t)
	s, err := mongo.Open(t.Context(), server.URI(database)+"&readPreference=secondaryPreferred&readConcernLevel=local", mongo.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	stop := server.Record(database)
	_, err = s.Entity(t.Context(), order("o1").Key)
	require.ErrorIs(t, err, storage.ErrNotFound)
	_, err = s.CountLetters(t.Context(), storage.LetterFilter{Status: storage.LetterOpen})
	require.NoError(t, err)
	reads := 0
	for _, c := range stop() {
		switch c.Name {
		case "find", "aggregate", "count":
			reads++
			require.Equal(t, "majority", c.Body.Lookup("readConcern", "level").StringValue(), "%s", c.Body)
			preference, given := c.Body.Lookup("$readPreference", "mode").StringValueOK()
			require.True(t, !given || strings.HasPrefix(preference, "primary"), "%s", c.Body)
			require.NotContains(t, preference, "secondary")
		}
	}
	require.Equal(t, 2, reads)
}

// TestIndexesHaveTheTimeTheyNeed and ask nothing of a server before 6.0, whose
// partial indexes know no $in.
func TestIndexesHaveTheTimeTheyNeed(t *testing.T) {
	const usual = 10 * time.Second
	database := newDatabase(t)
	stop := server.Record(database)
	s := open(t, database, mongo.Options{Retention: storage.Retention{Events: time.Hour, Commands: time.Hour, Audit: time.Hour, Discrepancies: time.Hour}})
	_, err := s.Claim(t.Context(), order("o1"))
	require.NoError(t, err)
	made := 0
	for _, c := range stop() {
		if c.Name != "createIndexes" {
			continue
		}
		made++
		require.NotContains(t, c.Body.String(), "$in")
		if most, told := c.Body.Lookup("maxTimeMS").AsInt64OK(); told {
			require.Greater(t, time.Duration(most)*time.Millisecond, 100*usual, "%s", c.Body)
		}
	}
	require.Greater(t, made, 15)
}
