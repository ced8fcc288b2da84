package mongo_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/tarn-sync/tarn/shared/storage/mongo"
)

// lines is a log that is read while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

// Write keeps a line.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func indexNames(t *testing.T, db *driver.Database, collection string) (names []string) {
	t.Helper()
	specs, err := db.Collection(collection).Indexes().ListSpecifications(t.Context())
	require.NoError(t, err)
	for _, s := range specs {
		names = append(names, s.Name)
	}
	return names
}

// Indexes that take long to build hold up neither the start nor a claim; the log
// says that they are built, and when they are.
func TestIndexesAreBuiltInTheBackground(t *testing.T) {
	database, goOn := newDatabase(t), make(chan struct{})
	monitor := &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		if e.CommandName == "createIndexes" {
			<-goOn
		}
	}}
	log := &lines{}
	s, err := mongo.OpenHeldBy(t.Context(), server.URI(database),
		mongo.Options{BulkSize: bulkSize, Monitor: monitor, Logger: slog.New(slog.NewTextHandler(log, nil))}, 20*time.Millisecond)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	for n := range 3 {
		doc, err := s.Claim(t.Context(), order("o1"))
		require.NoError(t, err)
		require.EqualValues(t, n+1, doc.Claim)
	}
	const builds = 3 // of the store, of the kind, and of its parent
	require.Equal(t, builds, log.count("indexes are being built"), "once each: %s", log.b.String())
	require.Zero(t, log.count("indexes are built"))
	close(goOn)
	require.Eventually(t, func() bool { return log.count("indexes are built") == builds }, time.Minute, 10*time.Millisecond)
	db := owner(t, database)
	require.Contains(t, indexNames(t, db, "mirror_lemon_order"), "status_1__id_1")
	require.Contains(t, indexNames(t, db, "mirror_lemon_order"), "parents.account_1__id_1")
	require.Contains(t, indexNames(t, db, "events"), "id_1")
}

// Indexes of earlier versions that others have replaced are removed; the owner's
// are not, under any name.
func TestReplacedIndexesAreRemoved(t *testing.T) {
	database := newDatabase(t)
	db := owner(t, database)
	add := func(collection, name string, fields ...string) {
		t.Helper()
		keys := bson.D{}
		for _, f := range fields {
			keys = append(keys, bson.E{Key: f, Value: 1})
		}
		_, err := db.Collection(collection).Indexes().CreateOne(t.Context(), driver.IndexModel{Keys: keys, Options: options.Index().SetName(name)})
		require.NoError(t, err)
	}
	add("tasks", "parent_1", "parent")
	add("mirror_lemon_order", "status_1", "status")
	add("mirror_lemon_order", "terminal_at_1_deleted_at_1_verified_at_1", "terminal_at", "deleted_at", "verified_at")
	add("mirror_lemon_order", "living", "terminal_at", "deleted_at", "verified_at", "_id")
	add("mirror_lemon_order", "parents.account_1", "parents.account")
	add("mirror_lemon_account", "status_1", "status", "claim")
	add("mirror_lemon_account", "living", "synced_at")
	s := open(t, database, mongo.Options{})
	for _, ref := range []string{"order", "account"} {
		of := order("x")
		of.Key.Kind = ref
		_, err := s.Claim(t.Context(), of)
		require.NoError(t, err)
	}
	require.NotContains(t, indexNames(t, db, "tasks"), "parent_1")
	require.ElementsMatch(t, []string{"_id_", "status_1__id_1", "parents.account_1__id_1"}, indexNames(t, db, "mirror_lemon_order"),
		"FerretDB has no partial ones")
	require.Subset(t, indexNames(t, db, "mirror_lemon_account"), []string{"status_1", "living"}, "the owner's")
}
