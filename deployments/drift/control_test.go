package main

import (
	"context"
	"database/sql"
	"encoding/json"
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

// What must not be concluded, and what must be seen, through all processes. A
// search for missed events that does not get on is package reconciler's test.
func TestControls(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("runs processes")
	}
	c := startControlled(t)
	// One account, so that its orders take several pages.
	require.NoError(t, c.Simulator.Load(c.ctx, simulator.Load{Entities: 251, Accounts: 1, Events: 251}, time.Minute))
	require.NoError(t, c.Drain(c.ctx, time.Minute))
	// What a list lacks or shows is a discrepancy once a sweep has read it whole.
	c.sweep(t, storage.TaskDone)
	require.Empty(t, c.found(t))

	t.Run("a partial listing deletes nothing", func(t *testing.T) {
		var gone simulator.Drifted
		require.NoError(t, c.Simulator.Tell(c.ctx, http.MethodPost, "/_sim/drift", simulator.Drift{Delete: 0.02}, &gone))
		require.NotEmpty(t, gone.Deleted)
		// The entities are gone for good: a GET says so, and their list lacks them.
		// As the list does not come whole, no GET is sent.
		c.cut.Store(true)
		done := c.sweep(t, storage.TaskFailed)
		require.Positive(t, done.Counts["failed_lists"])
		require.Positive(t, c.refused.Load(), "no list was cut off")
		require.Empty(t, c.found(t))
		require.Empty(t, c.tombstones(t))

		// The control of the control: whole, the same list is believed.
		c.cut.Store(false)
		c.sweep(t, storage.TaskDone)
		require.NoError(t, c.Drain(c.ctx, time.Minute))
		require.ElementsMatch(t, gone.Deleted, c.tombstones(t))
		for _, d := range c.found(t) {
			require.Equal(t, storage.Deleted, d.Type)
		}
		require.Len(t, c.found(t), len(gone.Deleted))
	})

	t.Run("a mirror edited by hand is repaired, and the patch shows the edit", func(t *testing.T) {
		page, err := c.Store.Entities(c.ctx, storage.EntityFilter{Source: fleet.Source, Kind: "order", Limit: 200})
		require.NoError(t, err)
		doc := page.Items[0]
		for _, d := range page.Items {
			if d.DeletedAt.IsZero() {
				doc = d
			}
		}
		var before struct{ Fee json.RawMessage }
		require.NoError(t, json.Unmarshal(doc.Raw, &before))
		c.edit(t, doc, "$.fee", "123.45")
		// The worker's claim must not be needed for the edit to be seen.
		c.sweep(t, storage.TaskDone)
		require.NoError(t, fleet.WaitFor(c.ctx, time.Minute, func() string { return "the edit is not repaired" }, func() (bool, error) {
			now, err := c.Store.Entity(c.ctx, doc.Key)
			return err == nil && string(now.Raw) == string(doc.Raw), err
		}))
		var edit *storage.Discrepancy
		for _, d := range c.found(t) {
			if d.Entity == doc.Key {
				edit = d
			}
		}
		require.NotNil(t, edit)
		require.Equal(t, storage.Stale, edit.Type)
		require.JSONEq(t, `[{"op": "test", "path": "/fee", "value": "123.45"}, {"op": "replace", "path": "/fee", "value": `+string(before.Fee)+`}]`, string(edit.Patch))
	})
}

// controlled is a fleet behind whose back lists can be cut off.
type controlled struct {
	*fleet.Fleet
	ctx     context.Context
	cut     atomic.Bool  // second pages of orders fail
	refused atomic.Int64 // how many have
}

func startControlled(t *testing.T) *controlled {
	t.Helper()
	require.NoError(t, programs.Build(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	t.Cleanup(cancel)
	c := &controlled{ctx: ctx}
	var simulated atomic.Pointer[url.URL]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.cut.Load() && strings.HasSuffix(r.URL.Path, "/orders") && r.URL.Query().Has("cursor") {
			c.refused.Add(1)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"message": "try again"}`))
			return
		}
		to := simulated.Load()
		if to == nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		httputil.NewSingleHostReverseProxy(to).ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	var err error
	c.Fleet, err = fleet.Start(ctx, programs, fleet.Plan{
		APIs: 1, Workers: 1, Fsync: "everysec",
		Reconcile: "{gaps: {every: 1h}, sweep: {every: 168h}, grace: 1s}",
		Env:       []string{"TARN_SOURCES__ACME__API_URL=" + proxy.URL + "/v1"},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range c.Members("") {
				t.Logf("last words of %s:\n%s", m.Name, m.LastWords())
			}
		}
		require.NoError(t, c.Close())
	})
	simulated.Store(&url.URL{Scheme: "http", Host: c.Simulator.Addr})
	return c
}

// sweep runs one sweep of orders as an operator has it run, by a reconciler
// that is started for the first one, and checks how it ends.
func (c *controlled) sweep(t *testing.T, status storage.TaskStatus) *storage.Task {
	t.Helper()
	if len(c.Members(fleet.Reconciler)) == 0 {
		m, err := c.Add(c.ctx, fleet.Reconciler)
		require.NoError(t, err)
		require.NoError(t, m.WaitReady(c.ctx, time.Minute))
	}
	var begun struct{ ID string }
	ask := map[string]any{"source": fleet.Source, "kinds": []string{"order"}}
	require.NoError(t, c.Operate(c.ctx, http.MethodPost, "/v1/sweeps", ask, &begun))
	var task *storage.Task
	require.NoError(t, fleet.WaitFor(c.ctx, time.Minute, func() string { return "the sweep does not end" }, func() (_ bool, err error) {
		task, err = c.Store.Task(c.ctx, begun.ID)
		return err == nil && task.Status.Final(), err
	}))
	require.Equal(t, status, task.Status, task.Error)
	return task
}

// found are the discrepancies about orders.
func (c *controlled) found(t *testing.T) []*storage.Discrepancy {
	t.Helper()
	page, err := c.Store.Discrepancies(c.ctx, storage.DiscrepancyFilter{Kind: "order", Limit: 200})
	require.NoError(t, err)
	return page.Items
}

func (c *controlled) tombstones(t *testing.T) (names []string) {
	t.Helper()
	for filter := (storage.EntityFilter{Source: fleet.Source, Kind: "order", Limit: 200}); ; {
		page, err := c.Store.Entities(c.ctx, filter)
		require.NoError(t, err)
		for _, doc := range page.Items {
			if !doc.DeletedAt.IsZero() {
				names = append(names, doc.Key.Kind+"/"+doc.Key.ID)
			}
		}
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			return names
		}
	}
}

// edit changes a field of a document in the file, as a hand with sqlite3 would.
func (c *controlled) edit(t *testing.T, doc *storage.Document, path, value string) {
	t.Helper()
	db, err := sql.Open("sqlite", strings.TrimPrefix(c.Database.URL(), "sqlite://")+"?_pragma=busy_timeout(20000)")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	done, err := db.ExecContext(c.ctx, "UPDATE mirror SET raw = json_set(raw, ?, ?) WHERE source = ? AND kind = ? AND id = ?",
		path, value, doc.Key.Source, doc.Key.Kind, doc.Key.ID)
	require.NoError(t, err)
	n, err := done.RowsAffected()
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}
