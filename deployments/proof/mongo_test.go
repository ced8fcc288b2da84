package proof

import (
	"strings"
	"testing"
	"time"

	"github.com/tarn-sync/tarn/shared/mirror/mongo/mongotest"
)

// The same on MongoDB's wire protocol, at a gentle rate: the server is
// FerretDB, one command at a time, which scans whatever is not asked for by id.
func TestThousandEventsOnMongoDB(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute of processes")
	}
	// In a process of its own, without the race detector, and with a lazy
	// collector: it decodes every row of the log for most of its commands.
	server := run(t, "mongodb", binary(t, "shared/mirror/mongo/mongotest/cmd", ""), []string{"GOGC=800"}, t.TempDir())
	waitFor(t, 20*time.Second, sprint("the server does not say its address"), func() bool {
		return strings.HasSuffix(server.log.tail(1000), "\n")
	})
	uri := strings.TrimSpace(server.log.tail(1000))

	began := time.Now()
	f := start(t, plan{workers: 2, shards: 16, storeURL: uri, bulk: mongotest.BulkSize})
	f.tell("PUT", "/_sim/chaos", disorder, nil)
	f.load(100, 20, 1_000, 20, 5*time.Minute)
	f.drain(15 * time.Minute)
	t.Logf("1,000 events over 100 entities settled in %s", time.Since(began).Round(time.Second))
	f.prove(1_000, 100)
}
