package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	sim "github.com/tarn-sync/tarn/deployments/simulator"
)

// The same of the change feed: each of its guarantees is switched off, and the line that
// says what became of its consumers must turn red. Where a process must die at one step for
// it, it does. The sequencer does not look through the store in these runs, which would
// find within half a minute what hints do not name.
func TestFeedControls(t *testing.T) {
	t.Parallel()
	// Entities change seldom, so that a change that is not told is not made good by the next.
	seldom := options{duration: 8 * time.Second, seed: 1, only: []string{"kill-consumer"}, every: time.Second, entities: 1000, rate: 150}
	resets := options{duration: 8 * time.Second, seed: 1, only: []string{"reset-consumer"}, every: 100 * time.Millisecond, entities: 1000, rate: 150}
	// Between a backup and its restore each of a few entities changes several times.
	busy := options{duration: 15 * time.Second, seed: 1, only: []string{"restore-consumer"}, every: time.Second, entities: 20, rate: 100}
	racing := seldom
	racing.rivals = 2
	missing := control{lookAtFeed, func(v verdict) int { return v.feed.missing }, false}
	for _, tc := range []struct {
		name string
		o    options
		off  []string // program:name
		of   control
	}{
		{"hints leave after the ack", seldom, []string{"worker:feed-hints", "worker:kill@after-ack-before-hints:60", "reconciler:feed-look"}, missing},
		{"settled entries are acked without a look at the debt", seldom, []string{"worker:feed-debts", "worker:kill@after-settle:100", "reconciler:feed-look"}, missing},
		{"fed is ignored", seldom, []string{"worker:feed-fed", "worker:kill@after-write:100", "reconciler:feed-look"}, missing},
		{"the position is a counter without the unique id", racing, []string{"reconciler:tasks", "reconciler:feed-fence", "reconciler:feed-look"}, control{lookAtFeed, func(v verdict) int { return v.feed.holes }, true}},
		{"the tag is not checked", racing, []string{"reconciler:tasks", "reconciler:feed-fence", "reconciler:feed-look", "api:feed-tags"}, missing},
		{"the state is in the item", busy, []string{"api:feed-live"}, control{lookAtFeed, func(v verdict) int { return v.feed.backwards }, true}},
		{"the head is noted after the snapshot", resets, []string{"api:feed-head-first"}, missing},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := tc.o
			o.drain = 12 * time.Second
			turnsRed(t, o, tc.of, tc.off)
		})
	}
}

// A worker is killed between its write and the end of the ack, and the sequencer between its
// insert and the last of what follows: a healthy one goes on, and consumers get what the
// mirror holds. By hints alone: no sequencer looks through the store here.
func TestTheFeedIsCompleteAfterEveryKill(t *testing.T) {
	t.Parallel()
	const blind = "feed-look-off"
	f, ctx := quietFleet(t, fleet.Plan{APIs: 1, Shards: 8, LeaseTTL: time.Second, Concurrency: 8, Faults: map[string]string{fleet.Reconciler: blind}})
	require.NoError(t, f.Simulator.Chaos(ctx, usually))
	consumers := followed(t, ctx, f)
	total := 0
	for _, p := range []struct{ program, point string }{
		{fleet.Worker, "after-write"}, {fleet.Worker, "after-settle"}, {fleet.Worker, "before-ack"}, {fleet.Worker, "after-ack"},
		{fleet.Reconciler, "after-insert"}, {fleet.Reconciler, "after-feed-insert"}, {fleet.Reconciler, "after-hint-delete"},
	} {
		const events = 60
		total += events
		other := map[string]string{fleet.Worker: fleet.Reconciler, fleet.Reconciler: fleet.Worker}[p.program]
		beside, err := f.Add(ctx, other)
		require.NoError(t, err)
		f.SetFaults(p.program, fmt.Sprintf("%s,kill@%s:2", blind, p.point))
		victim, err := f.Add(ctx, p.program)
		require.NoError(t, err)
		require.NoError(t, f.Simulator.StartLoad(ctx, sim.Load{Entities: 12, Accounts: 3, Events: events, Rate: 300}))
		select {
		case <-victim.Ended():
		case <-time.After(60 * time.Second):
			require.FailNow(t, "the process never got there", "%s\n%s", p.point, victim.LastWords())
		}
		victim.Kill() // it is dead, and meant to be
		f.SetFaults(p.program, blind)
		healthy, err := f.Add(ctx, p.program)
		require.NoError(t, err)
		require.NoError(t, f.Simulator.WaitSent(ctx, time.Minute))
		require.NoError(t, f.Drain(ctx, time.Minute), "after %s", p.point)
		caughtUp(t, ctx, f, consumers, "after "+p.point)
		require.NoError(t, healthy.Stop())
		require.NoError(t, beside.Stop())
	}
	for _, c := range consumers {
		require.Zero(t, c.Resyncs())
	}
	proven(t, ctx, f, total)
}

// The sequencer is killed between the insert of commands that rest and the step that pays for
// them: a healthy one goes on, and consumers get the last state of each.
func TestCommandsAreToldAfterEveryKill(t *testing.T) {
	t.Parallel()
	f, ctx := quietFleet(t, fleet.Plan{APIs: 1, Workers: 1, Shards: 8, LeaseTTL: time.Second, Concurrency: 8, Commands: true, Hurried: true})
	require.NoError(t, f.Simulator.Chaos(ctx, usually))
	require.NoError(t, f.Simulator.Load(ctx, sim.Load{Entities: 6, Accounts: 3, Events: 30, Rate: 300}, time.Minute))
	require.NoError(t, f.Drain(ctx, time.Minute))
	truth, err := f.Simulator.Truth(ctx)
	require.NoError(t, err)
	account := ""
	for _, e := range truth {
		if e.Kind == "account" && !e.Deleted {
			account = e.ID
		}
	}
	consumers := followed(t, ctx, f)
	app := f.NewApplication()
	n := 0
	for _, point := range []string{"after-insert", "after-command-insert"} {
		f.SetFaults(fleet.Reconciler, "kill@"+point+":2")
		victim, err := f.Add(ctx, fleet.Reconciler)
		require.NoError(t, err)
		died := false
		for !died {
			n++
			ref := fmt.Sprint("told-", n)
			require.NoError(t, app.Ask(ctx, ref, "withdrawal/"+ref, fleet.Wish{
				Kind: "withdrawal", Op: "create", Ref: ref, Parents: map[string]string{"account": account},
				Body: fmt.Appendf(nil, `{"amount":"%d.00","currency":"EUR"}`, n),
			}))
			select {
			case <-victim.Ended():
				died = true
			case <-time.After(500 * time.Millisecond):
				require.Less(t, n, 200, "the process never got there: %s\n%s", point, victim.LastWords())
			}
		}
		victim.Kill() // it is dead, and meant to be
		f.SetFaults(fleet.Reconciler, "")
		healthy, err := f.Add(ctx, fleet.Reconciler)
		require.NoError(t, err)
		until(t, ctx, "every command is over", func() bool {
			open, err := app.Open(ctx)
			return err == nil && len(open) == 0
		})
		caughtUp(t, ctx, f, consumers, "after "+point)
		require.NoError(t, healthy.Stop())
	}
	for _, c := range consumers {
		require.Zero(t, c.Resyncs())
		require.Equal(t, n, c.Commands(), "it was told each, though a snapshot has none")
	}
}

// The database is restored from an older copy: consumers are told, read everything again,
// and hold what the restored mirror holds by then, which has what happened meanwhile too.
func TestConsumersOfARestoredDatabase(t *testing.T) {
	t.Parallel()
	f, ctx := quietFleet(t, fleet.Plan{
		APIs: 1, Workers: 1, Reconcilers: 1, Shards: 8, LeaseTTL: time.Second,
		Reconcile: "{gaps: {every: 1s, overlap: 5m}, recover: {every: 1s, after: 2s}}",
	})
	require.NoError(t, f.Simulator.Chaos(ctx, usually))
	consumers := followed(t, ctx, f)
	load := func() {
		require.NoError(t, f.Simulator.Load(ctx, sim.Load{Entities: 20, Accounts: 3, Events: 100, Rate: 300}, time.Minute))
		require.NoError(t, f.Drain(ctx, time.Minute))
		caughtUp(t, ctx, f, consumers, "")
	}
	all := func(do func(*fleet.Member) error) {
		for _, m := range f.Members("") {
			require.NoError(t, do(m))
		}
	}
	load()
	all((*fleet.Member).Stop)
	require.NoError(t, f.Backup(ctx))
	all((*fleet.Member).Start)
	load()
	for _, c := range consumers {
		require.Zero(t, c.Resyncs())
	}
	all((*fleet.Member).Stop)
	require.NoError(t, f.Restore(ctx))
	all((*fleet.Member).Start)
	until(t, ctx, "consumers are told", func() bool {
		for _, c := range consumers {
			if c.Resyncs() == 0 {
				return false
			}
		}
		return true
	})
	load()
	holes, err := f.FeedHoles(ctx)
	require.NoError(t, err)
	require.Empty(t, holes, "the new generation follows the old one's end")
}

// Redis loses everything while changes are on their way: hints are lost, debts are not.
func TestConsumersAfterRedisIsEmptied(t *testing.T) {
	t.Parallel()
	f, ctx := quietFleet(t, fleet.Plan{
		APIs: 1, Workers: 1, Reconcilers: 1, Shards: 8, LeaseTTL: time.Second,
		Reconcile: "{gaps: {every: 1s, overlap: 5m}, recover: {every: 1s, after: 2s}}",
	})
	require.NoError(t, f.Simulator.Chaos(ctx, usually))
	consumers := followed(t, ctx, f)
	const events = 600
	require.NoError(t, f.Simulator.StartLoad(ctx, sim.Load{Entities: 200, Accounts: 3, Events: events, Rate: 300}))
	until(t, ctx, "half of the events are made", func() bool {
		p, err := f.Simulator.Progress(ctx)
		return err == nil && p.Made > events/2
	})
	for _, m := range f.Members(fleet.Reconciler) {
		m.Freeze() // hints pile up
	}
	require.NoError(t, f.Simulator.WaitSent(ctx, time.Minute))
	require.NoError(t, f.Redis.Ask(ctx, "FLUSHALL"))
	for _, m := range f.Members(fleet.Reconciler) {
		m.Thaw()
	}
	require.NoError(t, f.Drain(ctx, time.Minute))
	caughtUp(t, ctx, f, consumers, "")
	for _, c := range consumers {
		require.Zero(t, c.Resyncs(), "the log is as it was")
	}
	proven(t, ctx, f, events)
}

// followed are a consumer of a stream and one of pages, which end with the test.
func followed(t *testing.T, ctx context.Context, f *fleet.Fleet) []*fleet.Consumer {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	consumers := []*fleet.Consumer{f.Follow(ctx, "stream", true), f.Follow(ctx, "pages", false)}
	t.Cleanup(func() {
		cancel()
		for _, c := range consumers {
			c.Wait()
		}
	})
	return consumers
}

// caughtUp waits until all consumers hold what the mirror holds. A lost hint may take the
// 30 s until the next look through the store. No version went backwards.
func caughtUp(t *testing.T, ctx context.Context, f *fleet.Fleet, consumers []*fleet.Consumer, when string) {
	t.Helper()
	for _, c := range consumers {
		var missing []string
		require.NoError(t, fleet.WaitFor(ctx, 2*time.Minute, func() string { return fmt.Sprintf("%s holds what the mirror holds %s: %v", c.Name, when, missing) }, func() (_ bool, err error) {
			if missing, err = c.Missing(ctx); err != nil || len(missing) > 0 {
				return false, err
			}
			stuck, err := c.Stuck(ctx)
			return !stuck, err
		}))
		require.Empty(t, c.Backwards())
	}
}
