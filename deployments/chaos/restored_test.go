package main

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	sim "github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// restoredFleet is a fleet whose database was restored to a copy in which commands are
// queued that are done since, and a row is in the outbox that was admitted since. It starts
// no reconciler after the restore.
type restoredFleet struct {
	*fleet.Fleet
	app *fleet.Application
	// keyless are the commands whose operation has no key at the provider.
	keyless []string
	// effects is how many effects commands have had.
	effects int
}

func (f *restoredFleet) count(t *testing.T, ctx context.Context) (n int) {
	t.Helper()
	writes, err := f.Simulator.Writes(ctx)
	require.NoError(t, err)
	for _, w := range writes {
		if w.Effect {
			n++
		}
	}
	return n
}

func (f *restoredFleet) all(t *testing.T, program string, do func(*fleet.Member) error) {
	t.Helper()
	for _, m := range f.Members(program) {
		require.NoError(t, do(m))
	}
}

func restoredWithCommands(t *testing.T, faults map[string]string) (*restoredFleet, context.Context) {
	t.Helper()
	quiet, ctx := quietFleet(t, fleet.Plan{
		APIs: 1, Workers: 1, Reconcilers: 1, Shards: 8, LeaseTTL: time.Second, Commands: true, Hurried: true, Faults: faults,
		Reconcile: "{gaps: {every: 1s, overlap: 5m}, recover: {every: 1s, after: 2s}}",
	})
	f := &restoredFleet{Fleet: quiet, app: quiet.NewApplication()}
	require.NoError(t, f.Simulator.Chaos(ctx, usually))
	require.NoError(t, f.Simulator.Load(ctx, sim.Load{Entities: 20, Accounts: 3, Events: 60, Rate: 300}, time.Minute))
	require.NoError(t, f.Drain(ctx, time.Minute))
	truth, err := f.Simulator.Truth(ctx)
	require.NoError(t, err)
	parents := map[string]string{}
	for _, e := range truth {
		if e.Kind == "account" && !e.Deleted {
			parents["account"] = e.ID
		}
	}
	require.NotEmpty(t, parents)

	f.all(t, fleet.Worker, (*fleet.Member).Stop)
	order := fleet.Wish{Kind: "order", Op: "create", Ref: "o1", Parents: parents, Body: json.RawMessage(
		`{"side":"buy","type":"market","instrument":"US0378331005","amount":"10.00","fees":{"base_amount":"0"},"currency":"EUR"}`)}
	require.NoError(t, f.app.Ask(ctx, "order", "order/o1", order))
	payout := func(ref, amount string) fleet.Wish {
		f.keyless = append(f.keyless, ref)
		return fleet.Wish{Kind: "withdrawal", Op: "create", Ref: ref, Parents: parents, Body: json.RawMessage(`{"amount":"` + amount + `","currency":"EUR"}`)}
	}
	require.NoError(t, f.app.Ask(ctx, "w1", "withdrawal/w1", payout("w1", "12.34")))
	f.all(t, fleet.API, (*fleet.Member).Stop)
	f.all(t, fleet.Reconciler, (*fleet.Member).Stop)
	require.NoError(t, f.app.Leave(ctx, "w2", "withdrawal/w2", 1, payout("w2", "23.45")))
	require.NoError(t, f.Backup(ctx))
	copied, err := f.Streams.FeedHead(ctx, fleet.Source)
	require.NoError(t, err)

	f.all(t, "", (*fleet.Member).Start)
	until(t, ctx, "the commands are done", func() bool {
		rows, err := f.Commands(ctx)
		return err == nil && len(rows) == 3 && !slices.ContainsFunc(rows, func(c *storage.Command) bool { return c.State != storage.CommandDone })
	})
	until(t, ctx, "the change feed has come further", func() bool {
		told, err := f.Streams.FeedHead(ctx, fleet.Source)
		return err == nil && told.Position > copied.Position
	})
	f.effects = f.count(t, ctx)
	require.Equal(t, 3, f.effects)
	f.all(t, "", (*fleet.Member).Stop)
	require.NoError(t, f.Restore(ctx))
	f.all(t, fleet.API, (*fleet.Member).Start)
	f.all(t, fleet.Worker, (*fleet.Member).Start)
	return f, ctx
}

// The database is restored to a copy in which commands are queued that are done since. None
// has a second effect before an operator releases them, though workers are up before any
// reconciler, and that dies between every two steps. After that, keys protect.
func TestCommandsOfARestoredDatabase(t *testing.T) {
	t.Parallel()
	f, ctx := restoredWithCommands(t, nil)
	for _, point := range []string{"after-hold", "after-generation"} {
		f.SetFaults(fleet.Reconciler, "kill@"+point)
		victim, err := f.Add(ctx, fleet.Reconciler)
		require.NoError(t, err)
		select {
		case <-victim.Ended():
		case <-time.After(time.Minute):
			require.FailNow(t, "the reconciler never got there", "%s\n%s", point, victim.LastWords())
		}
		victim.Kill() // it is dead, and meant to be
		holds, err := f.Store.Commands().Holds(ctx)
		require.NoError(t, err)
		require.Len(t, holds, 1, point)
		require.Equal(t, fleet.Source, holds[0].Source)
	}
	f.SetFaults(fleet.Reconciler, "")
	healthy, err := f.Add(ctx, fleet.Reconciler)
	require.NoError(t, err)
	until(t, ctx, "it alerts", func() bool { return strings.Contains(healthy.LastWords(), `"alert":"restored"`) })
	until(t, ctx, "the outbox is admitted again", func() bool {
		rows, err := f.Commands(ctx)
		return err == nil && len(rows) == 3
	})
	require.NoError(t, fleet.Pause(ctx, 3*time.Second)) // in which nothing may come
	require.Equal(t, f.effects, f.count(t, ctx))
	var list struct {
		Items []struct {
			ID, Ref, State string
			Held           bool
		}
		Holds []struct{ Source string }
	}
	require.NoError(t, f.Operate(ctx, http.MethodGet, "/v1/commands", nil, &list))
	require.Len(t, list.Holds, 1)
	require.Len(t, list.Items, 3)
	for _, c := range list.Items {
		require.True(t, c.Held, c.Ref)
		require.Equal(t, "queued", c.State, c.Ref)
		if slices.Contains(f.keyless, c.Ref) { // as the runbook says
			require.NoError(t, f.Operate(ctx, http.MethodDelete, "/v1/commands/"+c.ID, nil, nil))
		}
	}
	require.NoError(t, f.Operate(ctx, http.MethodPost, "/v1/sources/"+fleet.Source+"/release", nil, nil))
	until(t, ctx, "the order is done again", func() bool {
		c, err := f.Store.Commands().Command(ctx, storage.CommandID(fleet.Source, "order"))
		return err == nil && c.State == storage.CommandDone
	})
	require.Equal(t, f.effects, f.count(t, ctx), "its key protects it")
}

// The same without the fuse: what has no key at the provider is made twice.
func TestCommandsOfARestoredDatabaseWithoutAFuse(t *testing.T) {
	t.Parallel()
	const off = "command-fuse-off"
	f, ctx := restoredWithCommands(t, map[string]string{fleet.Worker: off, fleet.Reconciler: off})
	f.all(t, fleet.Reconciler, (*fleet.Member).Start)
	until(t, ctx, "effects are doubled", func() bool { return f.count(t, ctx) > f.effects })
}
