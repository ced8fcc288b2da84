package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

const tasksList = "tasks"

const taskColumns = `id, kind, parent, source, status, by, spec, state, counts, error, cancel, epoch,
	created_at, started_at, updated_at, finished_at`

const (
	createTaskSQL = `
INSERT INTO tasks (` + taskColumns + `) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
ON CONFLICT DO NOTHING`

	saveTaskSQL = `
UPDATE tasks SET status = ?2, state = ?3, counts = ?4, error = ?5, epoch = ?6, started_at = ?7, updated_at = ?8, finished_at = ?9
WHERE id = ?1 AND epoch <= ?6 AND status NOT IN ('done', 'failed', 'cancelled') RETURNING cancel`

	cancelTaskSQL = `
UPDATE tasks SET cancel = 1, status = iif(status = 'waiting', 'cancelled', status),
	finished_at = iif(status = 'waiting', ?2, finished_at)
WHERE id = ?1 AND status NOT IN ('done', 'failed', 'cancelled')`

	savedBeforeSQL = `SELECT cancel, status = ?2 AND epoch = ?3 FROM tasks WHERE id = ?1`

	taskThereSQL = `SELECT count(*) FROM tasks WHERE id = ?1`

	oldTasks = `status IN ('done', 'failed', 'cancelled') AND parent = '' AND finished_at BETWEEN 1 AND ?1 - 1`

	oldTasksSQL = `SELECT id FROM tasks INDEXED BY tasks_finished WHERE ` + oldTasks

	forgetTasksSQL = `
DELETE FROM tasks WHERE id IN (` + oldTasksSQL + ` UNION ALL
	SELECT p.id FROM tasks AS p INDEXED BY tasks_parent WHERE p.parent IN (` + oldTasksSQL + `))`
)

// CreateTasks adds tasks; one whose id is there is left as it is.
func (s *Store) CreateTasks(ctx context.Context, tasks []*storage.Task) error {
	return s.batch(ctx, "create tasks", len(tasks), func(t *tx) error {
		for _, k := range tasks {
			counts, err := json.Marshal(k.Counts)
			if err != nil {
				return err
			}
			_, err = t.exec(createTaskSQL, k.ID, k.Kind, k.Parent, k.Source, string(k.Status), k.By, text(k.Spec), text(k.State),
				string(counts), k.Error, k.Cancel, k.Epoch,
				millis(k.CreatedAt), millis(k.StartedAt), millis(k.UpdatedAt), millis(k.FinishedAt))
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// Task returns one, or storage.ErrNotFound.
func (s *Store) Task(ctx context.Context, id string) (*storage.Task, error) {
	k, err := scanTask(s.reads.QueryRowContext(ctx, "SELECT "+taskColumns+" FROM tasks WHERE id = ?1", id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("read task %s: %w", id, storage.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read task %s: %w", id, readError(ctx, err))
	}
	return k, nil
}

// Tasks lists them, newest created_at first.
func (s *Store) Tasks(ctx context.Context, f storage.TaskFilter) (storage.Page[*storage.Task], error) {
	c := conditions{by: tasksIndex(f)}
	oneOf(&c, "kind", f.Kinds)
	oneOf(&c, "status", f.Statuses)
	c.equal("parent", f.Parent)
	c.equal("source", f.Source)
	return list(ctx, s, newestFirst[*storage.Task]{
		list: tasksList, columns: taskColumns, table: "tasks", time: "created_at", scan: scanTask,
		place: func(k *storage.Task) page.Place { return page.Place{At: millis(k.CreatedAt), ID: k.ID} },
	}, c, f.Limit, f.Cursor)
}

// tasksIndex is the index that tasks are found by.
func tasksIndex(f storage.TaskFilter) string {
	switch {
	case f.Parent != "" && len(f.Statuses) > 0:
		return "tasks_parent_status"
	case f.Parent != "":
		return "tasks_parent"
	case len(f.Statuses) > 0:
		return "tasks_status"
	case len(f.Kinds) > 0:
		return "tasks_kind"
	}
	return "tasks_created"
}

// SaveTask writes how far a task has come, unless a later lease has.
func (s *Store) SaveTask(ctx context.Context, k *storage.Task) (saved bool, err error) {
	counts, err := json.Marshal(k.Counts)
	if err != nil {
		return false, fmt.Errorf("save task %s: %w", k.ID, err)
	}
	err = s.writer.change(ctx, func(t *tx) error {
		saved = false
		err := t.row(saveTaskSQL, k.ID, string(k.Status), text(k.State), string(counts), k.Error, k.Epoch,
			millis(k.StartedAt), millis(k.UpdatedAt), millis(k.FinishedAt)).Scan(&k.Cancel)
		if errors.Is(err, sql.ErrNoRows) {
			saved, err = t.savedBefore(k)
			return err
		}
		saved = err == nil
		return err
	})
	if err != nil {
		return false, fmt.Errorf("save task %s: %w", k.ID, err)
	}
	return saved, nil
}

// savedBefore reports whether a refused save repeats one that succeeded before and
// whose answer was lost.
func (t *tx) savedBefore(k *storage.Task) (saved bool, err error) {
	err = t.row(savedBeforeSQL, k.ID, string(k.Status), k.Epoch).Scan(&k.Cancel, &saved)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return saved && k.Status.Final(), err
}

// CancelTask asks for a task to end.
func (s *Store) CancelTask(ctx context.Context, id string) (cancelled bool, err error) {
	there := 0
	err = s.writer.change(ctx, func(t *tx) error {
		n, err := t.exec(cancelTaskSQL, id, millis(s.now()))
		if cancelled = n > 0; cancelled || err != nil {
			return err
		}
		return t.row(taskThereSQL, id).Scan(&there)
	})
	if err != nil {
		return false, fmt.Errorf("cancel task %s: %w", id, err)
	}
	if !cancelled && there == 0 {
		return false, fmt.Errorf("cancel task %s: %w", id, storage.ErrNotFound)
	}
	return cancelled, nil
}

// ForgetTasks removes final tasks that finished before a time.
func (s *Store) ForgetTasks(ctx context.Context, before time.Time) (int, error) {
	var n int64
	err := s.writer.change(ctx, func(t *tx) (err error) {
		n, err = t.exec(forgetTasksSQL, millis(before))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("forget tasks: %w", err)
	}
	return int(n), nil
}

func scanTask(row scanner) (*storage.Task, error) {
	var k storage.Task
	var counts string
	var created, started, updated, finished int64
	err := row.Scan(&k.ID, &k.Kind, &k.Parent, &k.Source, &k.Status, &k.By, &k.Spec, &k.State, &counts, &k.Error,
		&k.Cancel, &k.Epoch, &created, &started, &updated, &finished)
	if err != nil {
		return nil, err
	}
	k.CreatedAt, k.StartedAt = fromMillis(created), fromMillis(started)
	k.UpdatedAt, k.FinishedAt = fromMillis(updated), fromMillis(finished)
	if err := json.Unmarshal([]byte(counts), &k.Counts); err != nil {
		return nil, fmt.Errorf("task %s: counts: %w", k.ID, err)
	}
	return &k, nil
}
