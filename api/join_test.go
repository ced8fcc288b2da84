package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

// asks starts a sweep and returns the status of the answer and the id.
func (f *fixture) asks(body string) (int, string) {
	f.t.Helper()
	w := f.post("/v1/sweeps", body)
	require.Less(f.t, w.Code, 300, w.Body)
	var got sweep
	require.NoError(f.t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Equal(f.t, "/v1/sweeps/"+got.ID, w.Header().Get("Location"))
	return w.Code, got.ID
}

// A request for what is under way already joins it.
func TestASecondSweepJoinsTheFirst(t *testing.T) {
	t.Parallel()
	store := openSQLite(t)
	f := newFixture(t, func(o *Options) { o.Store = store })
	require.NoError(t, store.CreateTasks(t.Context(), []*storage.Task{sweepTask("gaps/lemon", modeGaps, storage.TaskRunning)}))
	status, first := f.asks(`{"source":"lemon","kinds":["order","trade"]}`)
	require.Equal(t, http.StatusAccepted, status)
	for _, body := range []string{`{"source":"lemon","kinds":["trade","order"]}`, `{"source":"lemon","kinds":["order","trade"],"rate":3,"mode":"sweep"}`} {
		status, id := f.asks(body)
		require.Equal(t, http.StatusOK, status, body)
		require.Equal(t, first, id)
	}
	ids := map[string]bool{first: true}
	for _, body := range []string{
		`{"source":"lemon","kinds":["order"]}`, `{"source":"lemon"}`, `{"source":"lemon","kinds":["order","trade"],"mode":"verify"}`, `{"source":"lemon","mode":"gaps"}`,
		`{"source":"lemon","mode":"backfill","since":"2026-02-01T00:00:00.000Z"}`, `{"source":"lemon","mode":"backfill","since":"2026-01-01T00:00:00.000Z"}`,
	} {
		status, id := f.asks(body)
		require.Equal(t, http.StatusAccepted, status, "%s is something else", body)
		require.False(t, ids[id])
		ids[id] = true
	}
	status, _ = f.asks(`{"source":"lemon","mode":"backfill","since":"2026-02-02T00:00:00.000Z"}`)
	require.Equal(t, http.StatusOK, status, "one under way reaches further back")
	require.Len(t, f.acts(t), len(ids), "a request that joins starts nothing")

	// One that is being cancelled, or is over, is not joined.
	run := func(id string, status storage.TaskStatus) {
		task, err := store.Task(t.Context(), id)
		require.NoError(t, err)
		task.Status, task.Epoch = status, task.Epoch+1
		saved, err := store.SaveTask(t.Context(), task)
		require.NoError(t, err)
		require.True(t, saved)
	}
	run(first, storage.TaskRunning)
	_, err := store.CancelTask(t.Context(), first)
	require.NoError(t, err)
	status, second := f.asks(`{"source":"lemon","kinds":["order","trade"]}`)
	require.Equal(t, http.StatusAccepted, status)
	require.False(t, ids[second])
	run(second, storage.TaskDone)
	f.clock.advance(time.Minute)
	status, third := f.asks(`{"source":"lemon","kinds":["order","trade"]}`)
	require.Equal(t, http.StatusAccepted, status)
	require.NotContains(t, []string{first, second}, third)
	status, id := f.asks(`{"source":"lemon","kinds":["order","trade"]}`)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, third, id)
}

// acts reads the audit.
func (f *fixture) acts(t *testing.T) []acted {
	t.Helper()
	var got actedList
	require.NoError(t, json.Unmarshal(f.get("/v1/audit?limit=200").Body.Bytes(), &got))
	return got.Items
}

// Requests at the same moment, at several processes, make one sweep.
func TestRequestsForASweepAtTheSameMoment(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]storage.Store{"sqlite": openSQLite(t), "mongo": openMongo(t)} {
		t.Run(name, func(t *testing.T) {
			// The requests wait for each other at the store, which takes a busy machine longer
			// than a caller is given.
			change := func(o *Options) { o.Store, o.AppendTimeout = store, time.Minute }
			processes := []*fixture{newFixture(t, change), newFixture(t, change)}
			for round := range 5 {
				body := fmt.Sprintf(`{"source":"lemon","kinds":["order"],"mode":%q}`, []string{"sweep", "verify"}[round%2])
				var all sync.WaitGroup
				var mu sync.Mutex
				begun, ids, started := make(chan struct{}), map[string]bool{}, 0
				for i := range 16 {
					all.Go(func() {
						<-begun
						status, id := processes[i%2].asks(body)
						mu.Lock()
						defer mu.Unlock()
						ids[id] = true
						if status == http.StatusAccepted {
							started++
						}
					})
				}
				close(begun)
				all.Wait()
				require.Len(t, ids, 1)
				require.Equal(t, 1, started, "one request has made it, and says so")
				for id := range ids {
					require.True(t, strings.HasPrefix(id, "sweep_"))
					_, err := store.CancelTask(t.Context(), id)
					require.NoError(t, err)
				}
			}
			tasks, err := store.Tasks(t.Context(), storage.TaskFilter{Source: "lemon"})
			require.NoError(t, err)
			require.Len(t, tasks.Items, 5)
		})
	}
}

// No id comes again, although sweeps that are over are forgotten.
func TestIDsOfSweepsDoNotComeAgain(t *testing.T) {
	t.Parallel()
	store := openSQLite(t)
	f := newFixture(t, func(o *Options) { o.Store = store })
	ids := map[string]bool{}
	for range 20 {
		_, id := f.asks(`{"source":"lemon"}`)
		require.False(t, ids[id])
		ids[id] = true
		task, err := store.Task(t.Context(), id)
		require.NoError(t, err)
		task.Status, task.FinishedAt = storage.TaskDone, f.clock.now()
		_, err = store.SaveTask(t.Context(), task)
		require.NoError(t, err)
		f.clock.advance(8 * 24 * time.Hour)
		_, err = store.ForgetTasks(t.Context(), f.clock.now().Add(-7*24*time.Hour))
		require.NoError(t, err)
	}
}
