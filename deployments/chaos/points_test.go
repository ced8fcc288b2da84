package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	sim "github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// A worker is killed between every two steps of the way, in the middle of its
// work; a healthy one finishes: all processed, the mirror true, order kept.
func TestKilledBetweenEveryTwoSteps(t *testing.T) {
	t.Parallel()
	f, ctx := quietFleet(t, fleet.Plan{
		APIs: 1, Shards: 8, LeaseTTL: time.Second, Concurrency: 8, Settings: "worker: {in_hand: 10}",
		Rate:       2000, // without one nothing is spilled
		Definition: hurried(t),
	})
	total := 0
	for _, p := range points(t) {
		const events = 60
		total += events
		load := sim.Load{Entities: 12, Accounts: 3, Events: events, Rate: 300}
		ill := usually
		if p.fails {
			ill.ServerError = 0.4
		}
		if p.crowds {
			ill.Latency = sim.Duration(time.Second) // so that more waits, however slowly it comes
		}
		if p.buries {
			require.NoError(t, f.Simulator.Load(ctx, load, time.Minute))
			ill.Entities = map[string]int{"order/" + newestOrder(t, ctx, f): 422}
		}
		require.NoError(t, f.Simulator.Chaos(ctx, ill))
		f.SetFaults(fleet.Worker, fmt.Sprintf("kill@%s:%d", p.name, p.n))
		victim, err := f.Add(ctx, fleet.Worker)
		require.NoError(t, err)
		if !p.buries { // else its work waits for it, and it may be dead before it is ready
			require.NoError(t, victim.WaitReady(ctx, time.Minute))
			require.NoError(t, f.Simulator.StartLoad(ctx, load))
		}
		select {
		case <-victim.Ended():
		case <-time.After(time.Minute):
			require.FailNow(t, "the worker never got there", "%s, %d times\n%s", p.name, p.n, victim.LastWords())
		}
		victim.Kill() // it is dead, and meant to be
		f.SetFaults(fleet.Worker, "")
		healthy, err := f.Add(ctx, fleet.Worker)
		require.NoError(t, err)
		require.NoError(t, f.Simulator.WaitSent(ctx, time.Minute))
		if p.buries {
			require.NoError(t, f.Drain(ctx, time.Minute), "after %s", p.name)
			require.NoError(t, f.Simulator.Chaos(ctx, usually))
			redrive(t, ctx, f)
		}
		require.NoError(t, f.Simulator.Chaos(ctx, usually))
		require.NoError(t, f.Drain(ctx, time.Minute), "after %s", p.name)
		require.NoError(t, healthy.Stop())
	}
	proven(t, ctx, f, total)
}

// hurried is the built-in definition of lemon, but with second looks and refreshes
// of derived kinds that are held back for a tenth of the time. A provider that never
// lags needs no more, and after every point all of them have to come.
func hurried(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../shared/provider/definitions/lemon.yaml")
	require.NoError(t, err)
	held := regexp.MustCompile(`(every|verify_after): 5s`)
	require.True(t, held.Match(text))
	file := filepath.Join(t.TempDir(), "lemon.yaml")
	require.NoError(t, os.WriteFile(file, held.ReplaceAll(text, []byte("$1: 500ms")), 0o600))
	return file
}

// newestOrder is the order that was made last.
func newestOrder(t *testing.T, ctx context.Context, f *fleet.Fleet) (id string) {
	t.Helper()
	truth, err := f.Simulator.Truth(ctx)
	require.NoError(t, err)
	var newest int64
	for _, e := range truth {
		if e.Kind == "order" && e.Seq > newest {
			id, newest = e.ID, e.Seq
		}
	}
	return id
}

// redrive redrives a dead letter, as an operator would once the cause is gone:
// there must be one. Those of the same entity are superseded by its sync.
func redrive(t *testing.T, ctx context.Context, f *fleet.Fleet) {
	t.Helper()
	page, err := f.Store.Letters(ctx, storage.LetterFilter{Status: storage.LetterOpen, Limit: 1})
	require.NoError(t, err)
	require.NotEmpty(t, page.Items, "nothing was buried")
	require.NoError(t, f.Operate(ctx, http.MethodPost, "/v1/dead-letters/"+page.Items[0].ID()+"/redrive", nil, nil))
}

// usually is the provider of these tests.
var usually = sim.Chaos{Latency: sim.Duration(5 * time.Millisecond)}

// point is a place between two steps.
type point struct {
	name string
	// n is at which time it gets there the worker is killed.
	n int
	// fails: the way leads there when syncs fail, buries: when they fail for
	// good, crowds: when more waits than may be in flight.
	fails, buries, crowds bool
}

// points are all of them, as package worker names them.
func points(t *testing.T) []point {
	failing := regexp.MustCompile(`park|fail`)
	named := regexp.MustCompile(`fault\.Point\("([a-z-]+)"\)`)
	files, err := filepath.Glob("../../worker/*.go")
	require.NoError(t, err)
	var all []point
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range named.FindAllSubmatch(text, -1) {
			name := string(m[1])
			if slices.ContainsFunc(all, func(p point) bool { return p.name == name }) {
				continue
			}
			p := point{name: name, n: 2, fails: failing.MatchString(name), buries: name == "after-letter", crowds: name == "after-spill"}
			if p.buries {
				p.n = 1
			}
			all = append(all, p)
		}
	}
	require.GreaterOrEqual(t, len(all), 7, "the points were not found")
	return all
}

// All workers die while Redis is out of memory, with work in flight; new
// ones drain the backlog by themselves, the sender repeats what was refused, and once
// there is room everything is accepted.
func TestAllWorkersKilledWhileRedisIsFull(t *testing.T) {
	t.Parallel()
	f, ctx := quietFleet(t, fleet.Plan{APIs: 2, Workers: 2, Shards: 8, LeaseTTL: time.Second})
	// What is under way stays so for 3 s at least, and events still come for as long.
	require.NoError(t, f.Simulator.Chaos(ctx, sim.Chaos{Latency: sim.Duration(6 * time.Second)}))
	const events = 1500
	require.NoError(t, f.Simulator.StartLoad(ctx, sim.Load{Entities: 100, Accounts: 10, Events: events, Rate: 200}))
	backlog := func() int64 {
		left, err := f.Left(ctx)
		require.NoError(t, err)
		return left.Live
	}
	until(t, ctx, "a backlog", func() bool { return backlog() > 100 })
	require.NoError(t, f.Redis.Ask(ctx, "CONFIG", "SET", "maxmemory", "1mb"))
	until(t, ctx, "the sender is refused", func() bool {
		c, err := f.Simulator.Counters(ctx)
		require.NoError(t, err)
		return c.Webhooks.Rejected > 20
	})
	for _, w := range f.Members(fleet.Worker) {
		w.Kill()
	}
	require.Positive(t, backlog(), "nothing was in flight")
	require.NoError(t, f.Simulator.Chaos(ctx, usually))
	for range 2 {
		_, err := f.Add(ctx, fleet.Worker)
		require.NoError(t, err)
	}
	until(t, ctx, "the backlog is drained by itself", func() bool { return backlog() == 0 })
	require.NoError(t, f.Redis.Ask(ctx, "CONFIG", "SET", "maxmemory", "0"))
	require.NoError(t, f.Simulator.WaitSent(ctx, time.Minute))
	require.NoError(t, f.Drain(ctx, time.Minute))
	proven(t, ctx, f, events)
}

// quietFleet starts a fleet that ends with the test.
func quietFleet(t *testing.T, p fleet.Plan) (*fleet.Fleet, context.Context) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs processes")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	t.Cleanup(cancel)
	p.Journal = true
	f, err := fleet.Start(ctx, programs, p)
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range f.Members("") {
				t.Logf("last words of %s:\n%s", m.Name, m.LastWords())
			}
		}
		require.NoError(t, f.Close())
	})
	return f, ctx
}

func until(t *testing.T, ctx context.Context, what string, yes func() bool) {
	t.Helper()
	require.NoError(t, fleet.WaitFor(ctx, time.Minute, func() string { return what }, func() (bool, error) { return yes(), nil }))
}

// proven wants every event logged once and processed, or superseded by a later
// good sync, the mirror true and never turned back, and order kept.
func proven(t *testing.T, ctx context.Context, f *fleet.Fleet, events int) {
	t.Helper()
	rows, err := f.Rows(ctx)
	require.NoError(t, err)
	require.Len(t, rows, events)
	require.Empty(t, slices.DeleteFunc(fleet.Unprocessed(rows), func(s string) bool {
		return strings.HasSuffix(s, "superseded (listed before: false)")
	}))
	open, err := f.Letters(ctx, storage.LetterOpen)
	require.NoError(t, err)
	require.Zero(t, open)
	require.Empty(t, fleet.Inversions(rows))
	bad, _, err := f.Untrue(ctx)
	require.NoError(t, err)
	require.Empty(t, bad)
	regressed, shown, err := f.Regressed(ctx)
	require.NoError(t, err)
	require.Empty(t, regressed)
	require.Positive(t, shown)
}
