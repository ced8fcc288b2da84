package reconciler

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// stand returns the loop of a task that never ends. Every replica runs the loop;
// one at a time has the lease.
func (r *Reconciler) stand(kind, source string, run runner) loop {
	return r.standAs(kind+"/"+source, kind, source, run)
}

// standAs is stand for a task with an id of its own.
func (r *Reconciler) standAs(id, kind, source string, run runner) loop {
	return func(ctx context.Context, l *telemetry.Loop) error {
		for logged := false; ctx.Err() == nil; {
			l.Turn()
			if err := r.ensureTask(ctx, l, id, kind, source); err != nil {
				return err
			}
			err := r.visit(ctx, id, l, func(ctx context.Context, w *work) error {
				if err := w.begin(ctx); err != nil {
					return err
				}
				return run(ctx, w)
			})
			switch {
			case errors.Is(err, stream.ErrHeld), errors.Is(err, errLostLease):
				logged = false
			case errors.Is(err, errNoLease):
				logged = r.waits(l, id, err, logged)
			default:
				return err
			}
			loops.Sleep(ctx, r.LeaseTTL/2)
		}
		return ctx.Err()
	}
}

// waits logs, once, that Redis is waited for. It returns the new value of logged.
func (r *Reconciler) waits(l *telemetry.Loop, what string, err error, logged bool) bool {
	l.Waiting("redis")
	if !logged {
		r.Metrics.CountHeld("redis")
		r.sparing.Warn("waiting for redis", "for", what, "error", err)
	}
	return true
}

// ensureTask creates a standing task unless it exists.
func (r *Reconciler) ensureTask(ctx context.Context, l *telemetry.Loop, id, kind, source string) error {
	task := &storage.Task{ID: id, Kind: kind, Source: source, Status: storage.TaskRunning, By: "standing", CreatedAt: r.Now().UTC()}
	return r.waiting(l).persist(ctx, "found task "+id, func() error { return r.Store.CreateTasks(ctx, []*storage.Task{task}) })
}

// taskQueue takes tasks of some kinds and runs them.
type taskQueue struct {
	r      *Reconciler
	source string // "": any
	kinds  []string
	size   int

	mu sync.Mutex
	// busy holds the tasks under way, later those that are not tried again before
	// a time.
	busy  map[string]bool
	later map[string]time.Time
	ended chan struct{}
	work  sync.WaitGroup
}

// taskQueue returns a loop that runs up to size tasks of the kinds at once. What asks
// a provider has a queue for each source, so a paused source delays only its own work.
func (r *Reconciler) taskQueue(source string, size int, kinds ...string) loop {
	return func(ctx context.Context, l *telemetry.Loop) error {
		q := &taskQueue{
			r: r, source: source, kinds: kinds, size: size,
			busy: map[string]bool{}, later: map[string]time.Time{}, ended: make(chan struct{}, 1),
		}
		return q.run(ctx, l)
	}
}

func (q *taskQueue) run(ctx context.Context, l *telemetry.Loop) error {
	ctx, stop := context.WithCancel(ctx)
	defer q.work.Wait()
	defer stop() // also if this loop fails: when it is restarted, nothing is under way
	tick := time.NewTicker(q.r.Poll)
	defer tick.Stop()
	for logged := false; ctx.Err() == nil; {
		l.Turn()
		switch err := q.fill(ctx, l); {
		case err == nil:
			logged = false
		case !errors.Is(err, errNoLease):
			return err
		default:
			logged = q.r.waits(l, "tasks", err, logged)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-q.ended:
		}
	}
	return ctx.Err()
}

// fill takes tasks until the queue's places are full or no task is left.
func (q *taskQueue) fill(ctx context.Context, l *telemetry.Loop) error {
	base := q.r.waiting(l)
	// Running tasks are few and come first: one whose replica died has no owner,
	// and should not wait behind new ones.
	for _, status := range []storage.TaskStatus{storage.TaskRunning, storage.TaskWaiting} {
		f := storage.TaskFilter{Kinds: q.kinds, Source: q.source, Statuses: []storage.TaskStatus{status}, Limit: 20}
		for q.room() {
			var page storage.Page[*storage.Task]
			err := base.persist(ctx, "look for tasks", func() (err error) {
				page, err = q.r.Store.Tasks(ctx, f)
				return err
			})
			if err != nil {
				return err
			}
			for _, t := range page.Items {
				if !q.room() {
					return nil
				}
				if !q.mayTake(t) {
					continue
				}
				if err := q.take(ctx, t); err != nil {
					return err
				}
			}
			if f.Cursor = page.NextCursor; f.Cursor == "" {
				break
			}
		}
	}
	return nil
}

// room reports whether another task may be taken.
func (q *taskQueue) room() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.busy) < q.size
}

func (q *taskQueue) mayTake(t *storage.Task) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.busy[t.ID] && !standing(t) && !q.r.Now().Before(q.later[t.ID])
}

// standing reports whether a task never ends; such a task has a loop of its own.
func standing(t *storage.Task) bool { return t.ID == t.Kind+"/"+t.Source }

// take starts to run a task, unless another replica has its lease.
func (q *taskQueue) take(ctx context.Context, t *storage.Task) error {
	lease, err := q.r.Streams.Task(ctx, t.ID, q.r.ID)
	if err != nil {
		q.leave(t.ID, err)
		if errors.Is(err, stream.ErrHeld) {
			return nil
		}
		return fmt.Errorf("%w: %w", errNoLease, err)
	}
	q.mu.Lock()
	q.busy[t.ID] = true
	q.mu.Unlock()
	q.work.Go(func() {
		err := q.r.workOn(ctx, lease, nil, once(q.r.runners[t.Kind]))
		switch {
		case err == nil, ctx.Err() != nil, errors.Is(err, errLater), errors.Is(err, errLostLease):
		default:
			q.r.Logger.Warn("a task could not be worked on; it is tried again", "task", t.ID, "error", err)
		}
		q.leave(t.ID, err)
	})
	return nil
}

// leave frees the task's place. A task that is not over is not tried again at
// once.
func (q *taskQueue) leave(id string, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.busy, id)
	now := q.r.Now()
	maps.DeleteFunc(q.later, func(_ string, until time.Time) bool { return !now.Before(until) })
	if err != nil {
		q.later[id] = now.Add(q.r.Poll)
		return
	}
	select { // there may be more
	case q.ended <- struct{}{}:
	default:
	}
}
