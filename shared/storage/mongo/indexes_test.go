package mongo_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

// owner is the database as its owner uses it.
func owner(t *testing.T, database string) *driver.Database {
	t.Helper()
	client, err := driver.Connect(options.Client().ApplyURI(server.URI(database)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Disconnect(context.WithoutCancel(t.Context()))) })
	return client.Database(database)
}

// openLogged opens a store whose log can be read.
func openLogged(t *testing.T, database string, o mongo.Options) (*mongo.Store, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	o.BulkSize, o.Logger = bulkSize, slog.New(slog.NewTextHandler(&log, nil))
	s, err := mongo.Open(t.Context(), server.URI(database), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s, &log
}

// TestAnIndexOfTheOwnersIsLeft whatever its name and options are: the store
// opens, and a kind is claimed.
func TestAnIndexOfTheOwnersIsLeft(t *testing.T) {
	database := newDatabase(t)
	db := owner(t, database)
	for _, c := range []struct {
		collection string
		keys       bson.D
		name       string
		unique     bool
	}{
		{"events", bson.D{{Key: "received_at", Value: -1}, {Key: "_id", Value: -1}}, "mine", false},      // 85
		{"mirror_lemon_order", bson.D{{Key: "status", Value: 1}, {Key: "_id", Value: 1}}, "mine", false}, // 85
		{"tasks", bson.D{{Key: "parent", Value: 1}}, "status_1_created_at_-1__id_-1", false},             // 86
		{"mirror_lemon_order", bson.D{{Key: "parents.account", Value: 1}, {Key: "_id", Value: 1}}, "parents.account_1__id_1", true},
	} {
		_, err := db.Collection(c.collection).Indexes().CreateOne(t.Context(),
			driver.IndexModel{Keys: c.keys, Options: options.Index().SetName(c.name).SetUnique(c.unique)})
		require.NoError(t, err, c.name)
	}
	s, log := openLogged(t, database, mongo.Options{})
	_, err := s.Claim(t.Context(), order("o1"))
	require.NoError(t, err)
	require.Contains(t, log.String(), "left as it is")
	names := func(collection string) (names []string) {
		specs, err := db.Collection(collection).Indexes().ListSpecifications(t.Context())
		require.NoError(t, err)
		for _, s := range specs {
			names = append(names, s.Name)
		}
		return names
	}
	require.Contains(t, names("tasks"), "tarn_status_1_created_at_-1__id_-1", "only its name was taken")
	require.Contains(t, names("events"), "mine")
	require.NotContains(t, names("events"), "received_at_-1__id_-1")
	require.Contains(t, names("events"), "id_1", "one refused index costs no other")
}

// The page has every index that a start and the first claim of a kind make, and
// no others.
func TestTheSchemaPageHasEveryIndex(t *testing.T) {
	database := newDatabase(t)
	stop := server.Record(database)
	s, _ := openLogged(t, database, mongo.Options{Retention: storage.Retention{Events: time.Hour, Commands: time.Hour, Audit: time.Hour, Discrepancies: time.Hour}})
	_, err := s.Claim(t.Context(), order("o1"))
	require.NoError(t, err)
	made := map[string]map[string]bool{}
	for _, c := range stop() {
		if c.Name != "createIndexes" {
			continue
		}
		collection := strings.Replace(c.Body.Lookup("createIndexes").StringValue(), "lemon_order", "<source>_<kind>", 1)
		if made[collection] == nil {
			made[collection] = map[string]bool{"_id_": true}
		}
		indexes, err := c.Body.Lookup("indexes").Array().Values()
		require.NoError(t, err)
		for _, x := range indexes {
			made[collection][strings.Replace(x.Document().Lookup("name").StringValue(), "parents.account", "parents.<kind>", 1)] = true
		}
	}
	_, page := storetest.SchemaPage(t, storetest.PageOfMongoDB)
	require.Len(t, page, len(made))
	for collection, names := range made {
		require.ElementsMatch(t, slices.Collect(maps.Keys(names)), page[collection], collection)
	}
}

// MongoDB removes commands that are final and not owed to the change feed, by when they
// became final. One that is not final has no such time.
func TestCommandsAreRemovedOnceTheyAreOld(t *testing.T) {
	database := newDatabase(t)
	stop := server.Record(database)
	openLogged(t, database, mongo.Options{Retention: storage.Retention{Commands: time.Hour}})
	var made []string
	for _, c := range stop() {
		if c.Name != "createIndexes" || c.Body.Lookup("createIndexes").StringValue() != "commands" {
			continue
		}
		indexes, err := c.Body.Lookup("indexes").Array().Values()
		require.NoError(t, err)
		for _, x := range indexes {
			if x.Document().Lookup("name").StringValue() == "retention" {
				made = append(made, x.Document().String())
			}
		}
	}
	require.Len(t, made, 1)
	for _, want := range []string{`"ended_at"`, `"expireAfterSeconds": {"$numberInt":"3600"}`, `{"open": false,"owed": false}`} {
		require.Contains(t, made[0], want)
	}
}

// TestAnElectionDuringTheStartIsWaitedFor: an error of the server while indexes are
// made is classified like any other.
func TestAnElectionDuringTheStartIsWaitedFor(t *testing.T) {
	for _, command := range []string{"hello", "createIndexes", "dropIndexes"} {
		database := newDatabase(t)
		stop := server.Answer(mongotest.Answer{Database: database, Command: command, Reply: bson.D{
			{Key: "ok", Value: 0}, {Key: "code", Value: 189}, {Key: "codeName", Value: "PrimarySteppedDown"}, {Key: "errmsg", Value: "stepped down"},
		}})
		_, err := mongo.Open(t.Context(), server.URI(database), mongo.Options{BulkSize: bulkSize, Logger: slog.New(slog.DiscardHandler)})
		stop()
		class, _ := fate.Of(err)
		require.Equal(t, fate.Unavailable.String(), class.String(), "%s: %v", command, err)
	}
}

// TestAMajorityOfTheMembersBuildsAnIndex where there are members: on a
// standalone server none may be asked for.
func TestAMajorityOfTheMembersBuildsAnIndex(t *testing.T) {
	for name, c := range map[string]struct {
		hello bson.D
		want  bool
	}{
		"a standalone server":  {bson.D{{Key: "maxWireVersion", Value: 21}}, false},
		"a replica set":        {bson.D{{Key: "maxWireVersion", Value: 21}, {Key: "setName", Value: "rs0"}}, true},
		"a sharded cluster":    {bson.D{{Key: "maxWireVersion", Value: 21}, {Key: "msg", Value: "isdbgrid"}}, true},
		"a replica set of 4.2": {bson.D{{Key: "maxWireVersion", Value: 8}, {Key: "setName", Value: "rs0"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			database := newDatabase(t)
			t.Cleanup(server.Answer(mongotest.Answer{Database: database, Command: "hello", Reply: append(c.hello, bson.E{Key: "ok", Value: 1})}))
			stop := server.Record(database)
			s := open(t, database, mongo.Options{})
			_, err := s.Claim(t.Context(), order("o1"))
			require.NoError(t, err)
			made := 0
			for _, c2 := range stop() {
				if c2.Name == "createIndexes" {
					made++
					quorum, given := c2.Body.Lookup("commitQuorum").StringValueOK()
					require.Equal(t, c.want, given, "%s", c2.Body)
					require.True(t, !given || quorum == "majority")
				}
			}
			require.NotZero(t, made)
		})
	}
}

// TestAChangedRetentionChangesTheIndex rather than building it again, where the
// server can.
func TestAChangedRetentionChangesTheIndex(t *testing.T) {
	reply := func(code int) bson.D {
		if code == 0 {
			return bson.D{{Key: "ok", Value: 1}}
		}
		return bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: code}, {Key: "errmsg", Value: "no"}}
	}
	for name, c := range map[string]struct {
		collMod int
		want    string // after the first, which is refused
		warned  bool
	}{
		"changed":            {0, "createIndexes collMod", false},
		"the owner's index":  {27, "createIndexes collMod", true},
		"collMod is unknown": {238, "createIndexes collMod dropIndexes createIndexes", true}, // the second is refused here, too
	} {
		t.Run(name, func(t *testing.T) {
			database := newDatabase(t)
			open(t, database, mongo.Options{}) // makes the other indexes
			stop := server.Record(database)
			t.Cleanup(server.Answer(mongotest.Answer{Database: database, Command: "collMod", Reply: reply(c.collMod)}))
			t.Cleanup(server.Answer(mongotest.Answer{Database: database, Command: "createIndexes", Reply: reply(85)}))
			_, log := openLogged(t, database, mongo.Options{Retention: storage.Retention{Audit: 2 * time.Hour}})
			var names []string
			for _, sent := range stop() {
				if collection, _ := sent.Body.Index(0).Value().StringValueOK(); collection != "audit" {
					continue
				}
				if name, _ := sent.Body.Lookup("indexes", "0", "name").StringValueOK(); strings.HasSuffix(name, "acts") {
					continue // of another index
				}
				names = append(names, sent.Name)
				if sent.Name == "collMod" {
					require.Equal(t, "retention", sent.Body.Lookup("index", "name").StringValue())
					require.EqualValues(t, 7200, sent.Body.Lookup("index", "expireAfterSeconds").AsInt64())
				}
			}
			require.Equal(t, c.want, strings.Join(names, " "))
			require.Equal(t, c.warned, strings.Contains(log.String(), "old documents are not removed"), log)
		})
	}
}

// TestClaimBringsBackWhatIsCompared: the projection of a state can be larger
// than the state, and nothing here reads it.
func TestClaimBringsBackWhatIsCompared(t *testing.T) {
	database := newDatabase(t)
	s := open(t, database, mongo.Options{})
	stop := server.Record(database)
	_, err := s.Claim(t.Context(), order("o1"))
	require.NoError(t, err)
	require.NoError(t, s.CreateTasks(t.Context(), []*storage.Task{{ID: "sweep_1", Status: storage.TaskWaiting}}))
	_, err = s.SaveTask(t.Context(), &storage.Task{ID: "sweep_1", Status: storage.TaskRunning})
	require.NoError(t, err)
	fields := map[string]string{}
	for _, c := range stop() {
		if c.Name == "findAndModify" {
			fields[c.Body.Index(0).Value().StringValue()] = c.Body.Lookup("fields").String()
		}
	}
	require.Equal(t, map[string]string{
		"mirror_lemon_order": `{"state": {"$numberInt":"0"}}`, "tasks": `{"cancel": {"$numberInt":"1"}}`,
	}, fields)
}

// TestOnlyAnInsertMakesADocument: of two upserts at once, some servers lose the
// $inc of one, and two fetches have one claim.
func TestOnlyAnInsertMakesADocument(t *testing.T) {
	var sent counter
	database := newDatabase(t)
	s := open(t, database, mongo.Options{Monitor: sent.monitor()})
	_, err := s.Claim(t.Context(), order("first")) // makes the collection's indexes
	require.NoError(t, err)
	sent.take()
	stop := server.Record(database)
	doc, err := s.Claim(t.Context(), order("o1"))
	require.NoError(t, err)
	require.EqualValues(t, 1, doc.Claim)
	require.Equal(t, []string{"findAndModify", "insert"}, sent.take(), "a newborn costs one round trip more")
	doc, err = s.Claim(t.Context(), order("o1"))
	require.NoError(t, err)
	require.EqualValues(t, 2, doc.Claim)
	require.Equal(t, []string{"findAndModify"}, sent.take())
	for _, c := range stop() {
		upsert, _ := c.Body.Lookup("upsert").BooleanOK()
		require.False(t, upsert, "%s", c.Body)
	}

	// The insert of another comes between: the claim is the next one.
	other := server.Answer(mongotest.Answer{Database: database, Command: "insert", Reply: bson.D{
		{Key: "ok", Value: 1}, {Key: "n", Value: 0}, {Key: "writeErrors", Value: bson.A{bson.D{
			{Key: "index", Value: 0}, {Key: "code", Value: 11000}, {Key: "errmsg", Value: "E11000 duplicate key"},
		}}},
	}})
	_, err = s.Claim(t.Context(), order("o2"))
	other()
	class, _ := fate.Of(err)
	require.Equal(t, fate.Unavailable.String(), class.String(), "a document that never comes is waited for")
	require.Equal(t, []string{"findAndModify", "insert", "findAndModify", "insert", "findAndModify", "insert"}, sent.take())
}

// TestBulksChangeDocumentsInOneOrder: a server that runs a bulk as one
// transaction locks documents in the order of the bulk, and two bulks in
// different orders would wait for each other.
func TestBulksChangeDocumentsInOneOrder(t *testing.T) {
	database := newDatabase(t)
	s := open(t, database, mongo.Options{})
	ids := []string{"evt_c", "evt_a", "evt_d", "evt_b"}
	var arrivals []storage.Arrival
	var done []storage.Settlement
	var failed []storage.Failure
	var letters []storage.Letter
	var again []storage.Requeue
	var notes []storage.Note
	var same []storage.Verified
	var letterIDs []string
	for _, id := range ids {
		k := order("o_" + id).Key
		a := arrival(id, event.Ref{Key: k})
		arrivals = append(arrivals, a)
		done = append(done, storage.Settlement{Source: "lemon", EventID: id, Entity: k, Signal: a.Signal, At: start})
		failed = append(failed, storage.Failure{Source: "lemon", EventID: id, Entity: k, Signal: a.Signal, At: start})
		letters = append(letters, storage.Letter{Source: "lemon", EventID: id, Ref: event.Ref{Key: k}, At: start})
		again = append(again, storage.Requeue{Source: "lemon", EventID: id, Entity: k, Signal: a.Signal})
		notes = append(notes, storage.Note{ID: "n" + id, Kind: storage.NoteDuplicate, Source: "lemon", EventID: id})
		same = append(same, storage.Verified{Key: k, StateHash: "h", At: start})
		letterIDs = append(letterIDs, letters[len(letters)-1].ID())
	}
	redelivered := func() []storage.Arrival {
		out := append([]storage.Arrival{}, arrivals...)
		for i := range out {
			out[i].Signal.ID = "9-0"
		}
		return out
	}
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"log", func() error { _, err := s.Log(t.Context(), arrivals); return err }},
		{"fail", func() error { return s.Fail(t.Context(), failed) }},
		{"requeued", func() error { return s.Requeued(t.Context(), again) }},
		{"bury", func() error { _, err := s.Bury(t.Context(), letters); return err }},
		{"bury again", func() error { _, err := s.Bury(t.Context(), letters); return err }},
		{"redriven", func() error { _, err := s.Redriven(t.Context(), letterIDs, "ops", start); return err }},
		{"settle", func() error { return s.Settle(t.Context(), done) }},
		{"log again", func() error { _, err := s.Log(t.Context(), redelivered()); return err }},
		{"note", func() error { return s.Note(t.Context(), notes) }},
		{"verify", func() error { _, err := s.Verify(t.Context(), same); return err }},
	} {
		stop := server.Record(database)
		require.NoError(t, c.call(), c.name)
		compared := 0
		for _, sent := range stop() {
			var ids []string
			switch sent.Name {
			case "update":
				for _, u := range updatesOf(t, []mongotest.Command{sent})[0] {
					if id, ok := u.Lookup("q", "_id").StringValueOK(); ok {
						ids = append(ids, id)
					}
				}
			case "insert":
				docs, err := sent.Body.Lookup("documents").Array().Values()
				require.NoError(t, err)
				for _, d := range docs {
					ids = append(ids, d.Document().Lookup("_id").StringValue())
				}
			}
			compared += len(ids)
			require.IsNonDecreasing(t, append([]string{"", ""}, ids...), "%s: %s", c.name, sent.Name)
		}
		require.NotZero(t, compared, c.name)
	}
}

// The pages of one step of a scan look for its end once.
func TestAStepOfAScanIsLookedForOnce(t *testing.T) {
	var sent counter
	s := open(t, newDatabase(t), mongo.Options{ScanSize: 4, Monitor: sent.monitor()})
	const n = 9
	for i := range n {
		ref := order(fmt.Sprintf("o%d", i))
		doc, err := s.Claim(t.Context(), ref)
		require.NoError(t, err)
		_, err = s.Write(t.Context(), &storage.Write{Ref: ref, Claim: doc.Claim, SentAt: start, Raw: []byte(`{}`), StateHash: "h"})
		require.NoError(t, err)
	}
	sent.take()
	var ids []string
	finds := 0
	for f := (storage.DueFilter{Source: "lemon", Kind: "order", VerifiedBefore: start.Add(time.Hour), Limit: 1}); ; {
		docs, next, err := s.DueForVerify(t.Context(), f)
		require.NoError(t, err)
		for _, d := range docs {
			ids = append(ids, d.Key.ID)
		}
		finds += len(sent.take())
		if f.After = next; next == "" {
			break
		}
	}
	require.Equal(t, "o0 o1 o2 o3 o4 o5 o6 o7 o8", strings.Join(ids, " "))
	require.Equal(t, 10+2+2*2, finds, "a page each, and an empty one; two steps; the last, which ends where all ends, twice")
}
