package api

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

func redriveTask(id string, status storage.TaskStatus) *storage.Task {
	return &storage.Task{
		ID: id, Kind: "redrive", Source: "lemon", Status: status, By: "ops",
		Spec: toJSON(storage.RedriveSpec{
			Filter: storage.LetterFilter{Status: storage.LetterOpen, Source: "lemon", Entity: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}, To: noon},
			Rate:   5,
		}),
		Counts: map[string]int64{"total": 10, "done": 4, "failed": 1}, Error: "away",
		CreatedAt: noon, StartedAt: noon.Add(time.Second), UpdatedAt: noon.Add(2 * time.Second),
	}
}

func sweepTask(id, mode string, status storage.TaskStatus) *storage.Task {
	return &storage.Task{
		ID: id, Kind: mode, Source: "lemon", Status: status, By: "schedule",
		Spec:   toJSON(storage.SweepSpec{Kinds: []string{"order"}}),
		Counts: map[string]int64{"partitions": 8, "done": 100, "found": 2, "api_calls": 5}, CreatedAt: noon,
	}
}

func TestJob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.tasks = []*storage.Task{redriveTask("job_1", storage.TaskRunning), sweepTask("sweep_1", "sweep", storage.TaskRunning)}
	want := `{"id":"job_1","kind":"redrive","source":"lemon","status":"running","by":"ops",
		"filter":{"source":"lemon","entity":"lemon/order/bord_1","to":"2026-03-01T12:00:00.000Z"},"rate":5,
		"total":10,"done":4,"failed":1,"error":"away",
		"created_at":"2026-03-01T12:00:00.000Z","started_at":"2026-03-01T12:00:01.000Z","updated_at":"2026-03-01T12:00:02.000Z"}`
	w := f.get("/v1/jobs/job_1")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.JSONEq(t, want, w.Body.String())
	for _, path := range []string{"/v1/jobs/job_2", "/v1/jobs/sweep_1", "/v1/sweeps/job_1"} {
		w := f.get(path)
		require.Equal(t, http.StatusNotFound, w.Code, path)
		requireProblem(t, w, "")
	}
	require.Equal(t, http.StatusUnprocessableEntity, f.get("/v1/jobs/%2E%2E").Code)
}

func TestListOfJobs(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.tasks, f.store.next = []*storage.Task{redriveTask("job_1", storage.TaskRunning)}, "abc"
	w := f.get("/v1/jobs?status=running&source=lemon&kind=discard&limit=3&cursor=x")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	require.Equal(t, storage.TaskFilter{
		Kinds: []string{"discard"}, Statuses: []storage.TaskStatus{storage.TaskRunning}, Source: "lemon", Limit: 3, Cursor: "x",
	}, f.store.tasksAsked)
	require.Contains(t, w.Body.String(), `"next_cursor":"abc"`)
	f.get("/v1/jobs")
	require.Equal(t, storage.TaskFilter{Kinds: []string{"redrive", "discard", "abandon", "reread", "erase", "restore"}, Limit: 50}, f.store.tasksAsked)
	refusedQueries(t, "/v1/jobs", "limit=0", "limit=201", "status=open", "kind=sweep", "type=x")
}

func TestCancel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, path string
		task       *storage.Task
		status     int
		kind, says string
	}{
		{"a waiting job", "/v1/jobs/job_1", redriveTask("job_1", storage.TaskWaiting), 202, "", `"status":"cancelled"`},
		{"a running job", "/v1/jobs/job_1", redriveTask("job_1", storage.TaskRunning), 202, "", `"cancelling":true`},
		{"a job that is over", "/v1/jobs/job_1", redriveTask("job_1", storage.TaskDone), 409, "over", "done"},
		{"no job", "/v1/jobs/job_2", redriveTask("job_1", storage.TaskRunning), 404, "", ""},
		{"a sweep as a job", "/v1/jobs/sweep_1", sweepTask("sweep_1", "sweep", storage.TaskRunning), 404, "", ""},
		{"a running sweep", "/v1/sweeps/sweep_1", sweepTask("sweep_1", "backfill", storage.TaskRunning), 202, "", `"cancelling":true`},
		{"a sweep of a schedule", "/v1/sweeps/" + url.PathEscape("sweep/lemon/1"), sweepTask("sweep/lemon/1", "sweep", storage.TaskWaiting), 202, "", `"status":"cancelled"`},
		{"a sweep that is over", "/v1/sweeps/sweep_1", sweepTask("sweep_1", "sweep", storage.TaskFailed), 409, "over", "failed"},
		{"a search for gaps", "/v1/sweeps/sweep_1", sweepTask("sweep_1", "gaps", storage.TaskRunning), 202, "", ""},
		{"the standing search for gaps", "/v1/sweeps/" + url.PathEscape("gaps/lemon"), sweepTask("gaps/lemon", "gaps", storage.TaskRunning), 409, "standing", "pause"},
		{"no sweep", "/v1/sweeps/sweep_2", sweepTask("sweep_1", "sweep", storage.TaskRunning), 404, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.store.tasks = []*storage.Task{c.task}
			w := f.send(http.MethodDelete, c.path, "")
			require.Equal(t, c.status, w.Code, w.Body)
			require.Contains(t, w.Body.String(), c.says)
			if c.status >= 400 {
				requireProblem(t, w, c.kind)
				require.False(t, c.task.Cancel)
				require.Empty(t, f.store.acts())
				return
			}
			require.True(t, c.task.Cancel)
			require.Equal(t, []string{"local: cancel " + c.task.ID}, f.store.acts())
		})
	}
}
