package main

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// gate stands before the provider, and does not answer for more than so many lists of orders.
type gate struct {
	*httptest.Server
	simulator    atomic.Pointer[url.URL]
	most, passed atomic.Int64
}

func newGate(t *testing.T) *gate {
	t.Helper()
	g := &gate{}
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := g.simulator.Load()
		if to == nil {
			w.WriteHeader(http.StatusBadGateway) // the fleet starts
			return
		}
		if strings.HasSuffix(r.URL.Path, "/orders") && g.passed.Add(1) > g.most.Load() {
			g.passed.Add(-1)
			<-r.Context().Done() // who asks is killed
			return
		}
		httputil.NewSingleHostReverseProxy(to).ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

// A backfill is killed twice and given again each time: it goes on where it was.
func TestAKilledBackfillGoesOn(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs processes")
	}
	require.NoError(t, programs.Build(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	gate := newGate(t)
	f, err := fleet.Start(ctx, programs, fleet.Plan{APIs: 1, Workers: 2, Rate: 300, Env: []string{"TARN_SOURCES__ACME__API_URL=" + gate.URL + "/v1"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	gate.simulator.Store(&url.URL{Scheme: "http", Host: f.Simulator.Addr})
	const accounts, kills = 60, 2
	load := simulator.Load{Entities: 11 * accounts, Accounts: accounts, Events: 11 * accounts, Rate: 50_000, Silent: true}
	require.NoError(t, f.Simulator.Load(ctx, load, time.Minute))
	// walked is how many lists of an account's orders were asked for, of which
	// each has one page.
	walked := func() (n int64, err error) {
		c, err := f.Simulator.Counters(ctx)
		for path, by := range c.Requests {
			if strings.HasSuffix(path, "/orders") {
				n += by["200"]
			}
		}
		return n, err
	}
	for i := range int64(kills) {
		gate.most.Store((i + 1) * accounts / 3)
		backfill, err := f.Command(ctx, fleet.Reconciler, "backfill", "--source", fleet.Source)
		require.NoError(t, err)
		require.NoError(t, backfill.Start())
		require.NoError(t, fleet.WaitFor(ctx, time.Minute, func() string { return "the backfill does not get on" }, func() (bool, error) {
			n, err := walked()
			return n >= (i+1)*accounts/3, err
		}))
		require.NoError(t, backfill.Process.Kill())
		require.ErrorContains(t, backfill.Wait(), "killed")
	}
	gate.most.Store(math.MaxInt64)
	backfill, err := f.Command(ctx, fleet.Reconciler, "backfill", "--source", fleet.Source)
	require.NoError(t, err)
	var said bytes.Buffer
	backfill.Stdout, backfill.Stderr = &said, &said
	require.NoError(t, backfill.Run(), "%s", &said)

	n, err := walked()
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, int64(accounts))
	// Four partitions are under way at once, of four accounts each.
	require.LessOrEqual(t, n, int64(accounts+kills*4*4), "what was noted is not repeated")
	page, err := f.Store.Tasks(ctx, storage.TaskFilter{Kinds: []string{"backfill"}})
	require.NoError(t, err)
	require.Len(t, page.Items, 1, "one backfill, not three")
	require.Equal(t, storage.TaskDone, page.Items[0].Status)
	bad, compared, err := f.Untrue(ctx)
	require.NoError(t, err)
	require.Empty(t, bad)
	require.Greater(t, compared, 11*accounts)
}
