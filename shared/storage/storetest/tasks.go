package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

func task(id string, created int) *storage.Task {
	return &storage.Task{
		ID: id, Kind: "sweep", Source: "lemon", Status: storage.TaskWaiting, By: "schedule",
		Spec: []byte(`{"kinds":["order"]}`), Counts: map[string]int64{"total": 3}, CreatedAt: at(created),
	}
}

func (s *suite) task(id string) *storage.Task {
	s.t.Helper()
	k, err := s.Task(s.ctx, id)
	require.NoError(s.t, err)
	return k
}

func (s *suite) save(k *storage.Task) bool {
	s.t.Helper()
	saved, err := s.SaveTask(s.ctx, k)
	require.NoError(s.t, err)
	return saved
}

var taskCases = []testCase{
	{"a task is created once and read whole", func(t *testing.T, s *suite) {
		k := task("sweep_1", 1)
		require.NoError(t, s.CreateTasks(s.ctx, []*storage.Task{k}))
		again := task("sweep_1", 9)
		again.By = "another operator"
		require.NoError(t, s.CreateTasks(s.ctx, []*storage.Task{again}))
		require.Equal(t, asJSON(t, k), asJSON(t, s.task("sweep_1")))
		_, err := s.Task(s.ctx, "sweep_2")
		require.ErrorIs(t, err, storage.ErrNotFound)
		require.NoError(t, s.CreateTasks(s.ctx, nil))
	}},
	{"only the latest lease saves", func(t *testing.T, s *suite) {
		require.NoError(t, s.CreateTasks(s.ctx, []*storage.Task{task("sweep_1", 1)}))
		first := s.task("sweep_1")
		first.Status, first.Epoch, first.State, first.StartedAt = storage.TaskRunning, 7, []byte(`{"page":1}`), at(2)
		require.True(t, s.save(first))
		second := s.task("sweep_1")
		require.Equal(t, asJSON(t, first), asJSON(t, second))
		second.Epoch, second.State, second.Counts["done"] = 8, []byte(`{"page":2}`), 2
		require.True(t, s.save(second))
		first.State = []byte(`{"page":99}`)
		require.False(t, s.save(first))
		require.Equal(t, `{"page":2}`, string(s.task("sweep_1").State))

		second.Status, second.FinishedAt, second.Error = storage.TaskDone, at(9), "one page failed"
		require.True(t, s.save(second))
		require.Equal(t, asJSON(t, second), asJSON(t, s.task("sweep_1")))
		second.Status = storage.TaskRunning
		require.False(t, s.save(second), "what is over stays so")
	}},
	{"the end of a task may be saved twice by the one who saved it", func(t *testing.T, s *suite) {
		require.NoError(t, s.CreateTasks(s.ctx, []*storage.Task{task("sweep_1", 1)}))
		k := s.task("sweep_1")
		require.False(t, s.save(task("sweep_unknown", 1)))
		k.Status, k.Epoch, k.FinishedAt = storage.TaskDone, 4, at(9)
		require.True(t, s.save(k))
		require.True(t, s.save(k), "the answer was lost")
		other := *k
		other.Epoch = 5
		require.False(t, s.save(&other), "it was not this lease that ended it")
		other.Epoch, other.Status = 4, storage.TaskFailed
		require.False(t, s.save(&other), "nor so")
		other.Status = storage.TaskRunning
		require.False(t, s.save(&other))
		require.Equal(t, asJSON(t, k), asJSON(t, s.task("sweep_1")))
	}},
	{"a task may lose what it had", func(t *testing.T, s *suite) {
		k := task("sweep_1", 1)
		k.State, k.Error, k.StartedAt, k.Counts = []byte(`{}`), "no", at(2), map[string]int64{"a.b": 1, "$c": 2, "": 3}
		require.NoError(t, s.CreateTasks(s.ctx, []*storage.Task{k}))
		require.Equal(t, asJSON(t, k), asJSON(t, s.task("sweep_1")))
		k.State, k.Error, k.StartedAt, k.Counts = nil, "", time.Time{}, nil
		require.True(t, s.save(k))
		require.Equal(t, asJSON(t, k), asJSON(t, s.task("sweep_1")))
	}},
	{"cancelling a waiting task ends it, a running one learns of it", func(t *testing.T, s *suite) {
		require.NoError(t, s.CreateTasks(s.ctx, []*storage.Task{task("job_waiting", 1), task("job_running", 2)}))
		running := s.task("job_running")
		running.Status, running.Epoch = storage.TaskRunning, 1
		require.True(t, s.save(running))
		for id, status := range map[string]storage.TaskStatus{"job_waiting": storage.TaskCancelled, "job_running": storage.TaskRunning} {
			ok, err := s.CancelTask(s.ctx, id)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, status, s.task(id).Status)
		}
		require.False(t, running.Cancel)
		require.True(t, s.save(running))
		require.True(t, running.Cancel)
		running.Status = storage.TaskCancelled
		require.True(t, s.save(running))
		ok, err := s.CancelTask(s.ctx, "job_running")
		require.NoError(t, err)
		require.False(t, ok)
		_, err = s.CancelTask(s.ctx, "job_unknown")
		require.ErrorIs(t, err, storage.ErrNotFound)
	}},
	{"tasks are listed newest first, by any filter", func(t *testing.T, s *suite) {
		all := []*storage.Task{task("a", 1), task("b", 2), task("c", 3), task("d", 3)}
		all[1].Kind, all[2].Parent, all[3].Status = "redrive", "a", storage.TaskRunning
		require.NoError(t, s.CreateTasks(s.ctx, all))
		ids := func(f storage.TaskFilter) (got []string) {
			for {
				p, err := s.Tasks(s.ctx, f)
				require.NoError(t, err)
				for _, k := range p.Items {
					got = append(got, k.ID)
				}
				if f.Cursor = p.NextCursor; f.Cursor == "" {
					return got
				}
			}
		}
		require.Equal(t, []string{"d", "c", "b", "a"}, ids(storage.TaskFilter{Limit: 3}))
		require.Equal(t, []string{"b"}, ids(storage.TaskFilter{Kinds: []string{"redrive", "backfill"}}))
		require.Equal(t, []string{"c"}, ids(storage.TaskFilter{Parent: "a"}))
		require.Equal(t, []string{"d"}, ids(storage.TaskFilter{Statuses: []storage.TaskStatus{storage.TaskRunning}, Source: "lemon"}))
		require.Empty(t, ids(storage.TaskFilter{Source: "stripe"}))
		_, err := s.Tasks(s.ctx, storage.TaskFilter{Cursor: "x"})
		require.ErrorIs(t, err, storage.ErrCursor)
	}},
	{"what finished long ago is forgotten, partitions too", func(t *testing.T, s *suite) {
		finished := func(id string, when time.Time) *storage.Task {
			k := task(id, 1)
			k.Status, k.FinishedAt = storage.TaskDone, when
			return k
		}
		part, other := finished("old/1", at(1)), finished("new/1", at(1))
		part.Parent, other.Parent = "old", "new"
		require.NoError(t, s.CreateTasks(s.ctx, []*storage.Task{
			finished("old", at(10)), part, finished("new", at(90)), other, task("waiting", 1), finished("timeless", time.Time{}),
		}))
		n, err := s.ForgetTasks(s.ctx, at(50))
		require.NoError(t, err)
		require.Equal(t, 2, n)
		p, err := s.Tasks(s.ctx, storage.TaskFilter{})
		require.NoError(t, err)
		require.Len(t, p.Items, 4)
	}},
}
