package worker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// large makes the fleet of a bundle one of 256 shards and 10 sources, with the lease
// time that is the default.
func large(b *bundle) {
	const shards, sources = 256, 10
	streams, err := stream.Open(b.ctx, stream.Options{URLs: []string{b.redis.URL()}, Shards: shards, Prefix: "large", Logger: quiet()})
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = streams.Close() })
	b.streams, b.options.Streams, b.options.LeaseTTL = streams, streams, 0
	first := b.options.Sources[0]
	for i := 1; i < sources; i++ {
		s := first
		s.Name = fmt.Sprint("acme", i)
		b.options.Sources = append(b.options.Sources, s)
	}
}

// idleFleet starts a large fleet of one worker and returns once it waits on every shard.
func idleFleet(t *testing.T) *bundle {
	t.Helper()
	b := setup(t)
	large(b)
	b.start("w1")
	info := b.redis.Client()
	require.Eventually(t, func() bool {
		shards, _, err := b.streams.Fleet(b.ctx, nil)
		return err == nil && ownedBy(shards, "w1") == b.streams.Shards() &&
			strings.Contains(info.Info(b.ctx, "clients").Val(), fmt.Sprintf("blocked_clients:%d\r", b.streams.Shards()))
	}, 60*time.Second, 50*time.Millisecond, "the worker comes to rest on all shards")
	return b
}

// An idle worker renews its leases, each every 2 s, and asks Redis for little else,
// however many shards and sources it has.
func TestIdleWorkerAsksLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("counts the commands of several seconds")
	}
	b := idleFleet(t)
	const counted = 8 * time.Second
	stop := redistest.Monitor(t, b.redis)
	begun := time.Now()
	time.Sleep(counted) // what is counted is a rate
	commands := stop()
	took := time.Since(begun).Seconds()

	renewals, others := 0, map[string]int{}
	for _, c := range commands {
		switch {
		case c[0] == "evalsha" && c[2] == "1" && strings.HasSuffix(c[3], "}:lease"):
			renewals++
		case c[0] == "evalsha":
			others["a script for "+strings.Trim(c[3], "0123456789{}:")]++
		default:
			others[c[0]]++
		}
	}
	sum := 0
	for _, n := range others {
		sum += n
	}
	t.Logf("%d renewals and %d other commands in %.1f s: %v", renewals, sum, took, others)
	require.LessOrEqual(t, float64(renewals), float64(b.streams.Shards())*(took/2+1))
	require.LessOrEqual(t, float64(sum)/took, 20.0)
}

// What comes to an idle shard is seen at once, by a worker that has waited on all its
// shards, and so is what comes after it.
func TestIdleShardsAreAwakeAtOnce(t *testing.T) {
	b := idleFleet(t)
	begun := time.Now()
	const n = 20
	for i := range n {
		b.row(b.send("widget.sold", "widget", fmt.Sprint("w", i)), storage.Processed)
	}
	require.Less(t, time.Since(begun)/n, 250*time.Millisecond)
}
