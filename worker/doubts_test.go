package worker_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/worker"
)

// replicated is a worker that wants a replica's confirmation, behind an address that can
// be moved to that replica. Stock is refreshed so long after an event.
func replicated(t *testing.T, every string) (b *bundle, master, replica *redistest.Server, addr *redistest.Proxy) {
	t.Helper()
	master = redistest.Start(t)
	replica = redistest.Start(t, redistest.ReplicaOf(master))
	require.True(t, eventually(func() bool {
		return strings.Contains(replica.Client().Info(t.Context(), "replication").Val(), "master_link_status:up")
	}))
	addr = redistest.NewProxy(t, master)
	def, err := provider.Parse("acme.yaml", []byte(strings.Replace(definition, "every: 300ms", "every: "+every, 1)))
	require.NoError(t, err)
	b = setupOn(t, []string{addr.URL()}, func(o *worker.Options) {
		waiting, err := stream.Open(t.Context(), stream.Options{URLs: []string{addr.URL()}, Shards: 4, LeaseTTL: leaseTTL, WaitReplicas: 1, Logger: quiet()})
		require.NoError(t, err)
		t.Cleanup(func() { _ = waiting.Close() })
		o.Streams, o.Sources[0].Definition = waiting, def
	})
	b.def = def
	return b, master, replica, addr
}

// A replica that stands still does not stop what was accepted, whatever it leads to.
func TestALostReplicaStopsNoWork(t *testing.T) {
	t.Parallel()
	b, _, replica, _ := replicated(t, "300ms")
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w0", "gadget", "g0", "shop", "s0"), storage.Processed)
	replica.Freeze()
	for i := range 20 {
		n := fmt.Sprint(i + 1)
		b.send("widget.sold", "widget", "w"+n, "gadget", "g"+n, "shop", "s"+n)
	}
	require.Len(t, b.rows(), 21)
	require.True(t, eventually(func() bool { return b.provider.fetches("stock", "s20") > 0 }), "refreshes too")
	replica.Thaw()
	b.empty()
}

// What too few replicas had confirmed and no row brings back is appended again to the
// replica that was promoted.
func TestADoubtSurvivesItsMaster(t *testing.T) {
	t.Parallel()
	b, master, replica, addr := replicated(t, "10s")
	b.start("w1")
	b.row(b.send("widget.sold", "widget", "w0"), storage.Processed)
	// It follows no longer: one that only stood still would still read what was sent to it.
	require.NoError(t, replica.Ask(t.Context(), "REPLICAOF", "NO", "ONE"))
	b.row(b.send("widget.sold", "widget", "w1", "shop", "s1"), storage.Processed)
	fetched := b.provider.fetches("stock", "s1")

	master.Kill()
	// The worker loses its shards, and forgets what it has read of them.
	require.True(t, eventually(func() bool { return b.metric("tarn_leases_held") == 0 }))
	_, port, err := net.SplitHostPort(replica.Addr())
	require.NoError(t, err)
	addr.To(net.JoinHostPort("127.0.0.1", port))
	addr.Cut()
	require.Zero(t, fetched, "the refresh was still held back")
	require.True(t, eventually(func() bool { return b.provider.fetches("stock", "s1") > 0 }))
}
