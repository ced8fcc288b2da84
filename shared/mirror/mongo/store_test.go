package mongo_test

import (
	"context"
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

	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/mirror/mongo"
	"github.com/tarn-sync/tarn/shared/mirror/mongo/mongotest"
	"github.com/tarn-sync/tarn/shared/mirror/storetest"
)

// bulkSize is so small that ordinary batches need several commands.
const bulkSize = mongotest.BulkSize * 2 / 5

// server is the FerretDB all tests share, each with a database of its own.
var server *mongotest.Server

func TestMain(m *testing.M) { os.Exit(run(m)) }

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

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) mirror.Store { return open(t, server.Database(), mongo.Options{}) })
}

// TestConformanceReal runs the suite against the server TARN_TEST_MONGODB_URI
// names, in databases of random names, which are dropped. Without it there is
// nothing to test, which the conformance on FerretDB does not depend on.
func TestConformanceReal(t *testing.T) {
	uri := os.Getenv("TARN_TEST_MONGODB_URI")
	if uri == "" {
		t.Log("TARN_TEST_MONGODB_URI is not set: only FerretDB was tested")
		return
	}
	storetest.Run(t, func(t *testing.T) mirror.Store { return openReal(t, uri) })
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
	s, err := mongo.Open(t.Context(), u.String(), mongo.Options{})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		client, err := driver.Connect(options.Client().ApplyURI(uri))
		require.NoError(t, err)
		require.NoError(t, client.Database(name).Drop(context.Background()))
		require.NoError(t, client.Disconnect(context.Background()))
	})
	return s
}
