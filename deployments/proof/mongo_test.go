package proof

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/mirror/mongo/mongotest"
)

// The same on MongoDB's wire protocol, at a gentle rate: the server is
// FerretDB, one command at a time, which scans whatever is not asked for by id.
func TestThousandEventsOnMongoDB(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute of processes")
	}
	server, err := mongotest.Start(context.Background(), t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })

	f := start(t, plan{workers: 2, shards: 16, storeURL: server.URI(server.Database()), bulk: mongotest.BulkSize})
	f.tell("PUT", "/_sim/chaos", disorder, nil)
	f.load(100, 20, 1_000, 25, 3*time.Minute)
	f.drain(3 * time.Minute)

	rows := f.rows()
	require.Len(t, rows, 1_000)
	require.Empty(t, unprocessed(rows))
	require.Empty(t, f.untrue(100))
	require.Empty(t, inversions(rows))
	f.countDuplicates(rows)
}
