package mongo_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

// bulkSize is so small that ordinary batches need several commands.
const bulkSize = mongotest.BulkSize * 2 / 5

// server is the FerretDB that all tests share; nil with -short.
var server *mongotest.Server

// newDatabase returns the name of an empty database.
func newDatabase(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: needs FerretDB")
	}
	return server.Database()
}

func TestMain(m *testing.M) {
	flag.Parse() // for testing.Short
	if testing.Short() {
		goleak.VerifyTestMain(m)
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tarn-mongo-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if server, err = mongotest.Start(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := server.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestConformance runs the suite, and asserts of every command that it sends
// that an index bounds what it reads. Scans are of few documents a step, so that
// they have many.
func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storage.Store {
		database := newDatabase(t)
		stop := server.Record(database)
		t.Cleanup(func() { require.Empty(t, mongotest.Unbounded(stop(), passedOver)) })
		return open(t, database, mongo.Options{ScanSize: 2})
	})
}

// passedOver are the fields for which documents are read that are not answered,
// each for a reason.
var passedOver = map[string][]string{
	// A list by several filters follows the index of one of them, and passes over
	// what the others leave out. Nothing but the api asks for such a list, and a
	// request of its that takes too long is answered so, not repeated. (The source
	// of an entity goes with its kind and id.) Of the few that retry on an entity's
	// behalf each is looked into. Of an entity's those with a note, too.
	"events": {"source", "status", "type", "kinds", "outcomes.", "keys+note", "keys+noted"},
	// Dead letters and discrepancies are for operators: few, or something is very wrong.
	"audit":         {"source", "by"}, // operators act rarely
	"dead_letters":  {"source", "type", "kind", "class", "claim", "entity+status"},
	"discrepancies": {"source", "type", "kind", "status", "sweep"},
	// The tasks of a status that is not over are few, and of others only people
	// ask.
	"tasks": {"source", "kind", "status"},
	// A list by several filters follows the index of one of them, as of events. What is open
	// in a lane is few.
	"commands": {"source", "kind", "op", "state", "ref", "lane", "at", "due_at"},
	// What was never fetched is few among those of a kind. The others are filters
	// of the api's list, as is a kind of parent that no document has.
	"mirror_": {"synced_claim", "status", "synced_at", "parents.person"},
}

// TestConformanceReal runs the suite against the server TARN_TEST_MONGODB_URI
// names, in databases of random names, which are dropped, and has it explain how
// it finds what every command asks for. Without it there is
// nothing to test, which the conformance on FerretDB does not depend on.
func TestConformanceReal(t *testing.T) {
	uri := os.Getenv("TARN_TEST_MONGODB_URI")
	if uri == "" {
		t.Log("TARN_TEST_MONGODB_URI is not set: only FerretDB was tested")
		return
	}
	storetest.Run(t, func(t *testing.T) storage.Store { return openReal(t, uri) })
}

func open(t testing.TB, database string, o mongo.Options) *mongo.Store {
	t.Helper()
	if o.BulkSize == 0 {
		o.BulkSize = bulkSize
	}
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := mongo.Open(t.Context(), server.URI(database), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func openReal(t *testing.T, uri string) *mongo.Store {
	u, err := url.Parse(uri)
	require.NoError(t, err)
	name := fmt.Sprintf("tarn_test_%016x", rand.Uint64())
	u.Path = "/" + name
	var sent explained
	s, err := mongo.Open(t.Context(), u.String(), mongo.Options{Monitor: sent.monitor(), ScanSize: 2})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		client, err := driver.Connect(options.Client().ApplyURI(uri))
		require.NoError(t, err)
		sent.requireIndexed(t, client.Database(name))
		require.NoError(t, client.Database(name).Drop(context.Background()))
		require.NoError(t, client.Disconnect(context.Background()))
	})
	return s
}
