package worker_test

import (
	"fmt"
	"slices"
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
	waits := b.waiting(b.streams.Shards())
	require.Eventually(t, func() bool {
		shards, _, err := b.streams.Fleet(b.ctx, nil)
		return err == nil && ownedBy(shards, "w1") == b.streams.Shards() && waits()
	}, 4*time.Minute, 50*time.Millisecond, "the worker comes to rest on all shards") // a late renewal puts it off for two
	return b
}

// An idle worker renews its leases, each every 2 s, and asks Redis for little else,
// however many shards and sources it has. One late renewal has all streams read again, and
// less and less often for two minutes. So the best of several windows decides: a worker
// that asks for much does so in each.
func TestIdleWorkerAsksLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("counts the commands of several seconds")
	}
	b := idleFleet(t)
	for window := 1; ; window++ {
		renewals, others, took := countCommands(t, b)
		if renewals <= float64(b.streams.Shards())*(took/2+1) && others/took <= 20 {
			return
		}
		require.Less(t, window, 15, "the worker asks for too much in every window")
	}
}

// countCommands counts the commands that Redis gets in some seconds.
func countCommands(t *testing.T, b *bundle) (renewals, others, seconds float64) {
	t.Helper()
	const counted = 8 * time.Second
	stop := redistest.Monitor(t, b.redis)
	begun := time.Now()
	time.Sleep(counted) // what is counted is a rate
	commands := stop()
	seconds = time.Since(begun).Seconds()

	by := map[string]int{}
	for _, c := range commands {
		switch {
		case c[0] == "evalsha" && c[2] == "1" && strings.HasSuffix(c[3], "}:lease"):
			renewals++
		case c[0] == "evalsha":
			by["a script for "+strings.Trim(c[3], "0123456789{}:")]++
		default:
			by[c[0]]++
		}
	}
	for _, n := range by {
		others += float64(n)
	}
	t.Logf("%.0f renewals and %.0f other commands in %.1f s: %v", renewals, others, seconds, by)
	return renewals, others, seconds
}

// What comes to an idle shard is seen at once, by a worker that has waited on all its
// shards, and so is what comes after it. A read for another reason comes after a second
// at the earliest. The median decides, so that a machine that stalls a few does not.
func TestIdleShardsAreAwakeAtOnce(t *testing.T) {
	b := idleFleet(t)
	var took []time.Duration
	for i := range 20 {
		begun := time.Now()
		b.row(b.send("widget.sold", "widget", fmt.Sprint("w", i)), storage.Processed)
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	require.Less(t, took[len(took)/2], time.Second, "%v", took)
}
