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

// stand returns the loop of a task that never ends. Every replica has it, and
// one at a time has the lease.
func (r *Reconciler) stand(kind, source string, run runner) loop {
	return func(ctx context.Context, l *telemetry.Loop) error {
		id := kind + "/" + source
		for told := false; ctx.Err() == nil; {
			l.Turn()
			if err := r.found(ctx, l, id, kind, source); err != nil {
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
				told = false
			case errors.Is(err, errNoLease):
				told = r.waits(l, id, err, told)
			default:
				return err
			}
			loops.Sleep(ctx, r.LeaseTTL/2)
		}
		return ctx.Err()
	}
}

// waits says, once, that Redis is waited for.
func (r *Reconciler) waits(l *telemetry.Loop, what string, err error, told bool) bool {
	l.Waiting("redis")
	if !told {
		r.Metrics.Unavailable.WithLabelValues("redis").Inc()
		r.Logger.Warn("waiting for redis", "for", what, "error", err)
	}
	return true
}

// found makes sure that a standing task is there.
func (r *Reconciler) found(ctx context.Context, l *telemetry.Loop, id, kind, source string) error {
	task := &storage.Task{ID: id, Kind: kind, Source: source, Status: storage.TaskRunning, By: "standing", CreatedAt: r.Now().UTC()}
	return r.waiting(l).persist(ctx, "found task "+id, func() error { return r.Store.CreateTasks(ctx, []*storage.Task{task}) })
}

// desk is where tasks of some kinds are taken from and worked on.
type desk struct {
	r      *Reconciler
	source string // "": any
	kinds  []string
	size   int

	mu sync.Mutex
	// busy are the tasks under way, later those that are not to be looked at
	// before a time.
	busy  map[string]bool
	later map[string]time.Time
	ended chan struct{}
	work  sync.WaitGroup
}

// desk returns a loop that works on up to size tasks of the kinds at once.
// Each kind of work has a desk of its own, and each source, so that a source
// that is paused holds up nobody else's.
func (r *Reconciler) desk(source string, size int, kinds ...string) loop {
	return func(ctx context.Context, l *telemetry.Loop) error {
		d := &desk{
			r: r, source: source, kinds: kinds, size: size,
			busy: map[string]bool{}, later: map[string]time.Time{}, ended: make(chan struct{}, 1),
		}
		return d.run(ctx, l)
	}
}

func (d *desk) run(ctx context.Context, l *telemetry.Loop) error {
	ctx, stop := context.WithCancel(ctx)
	defer d.work.Wait()
	defer stop() // also if this loop dies: its next life begins with nothing under way
	tick := time.NewTicker(d.r.Poll)
	defer tick.Stop()
	for told := false; ctx.Err() == nil; {
		l.Turn()
		switch err := d.fill(ctx, l); {
		case err == nil:
			told = false
		case !errors.Is(err, errNoLease):
			return err
		default:
			told = d.r.waits(l, "tasks", err, told)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-d.ended:
		}
	}
	return ctx.Err()
}

// fill takes tasks until the desk is full or there are no more.
func (d *desk) fill(ctx context.Context, l *telemetry.Loop) error {
	base := d.r.waiting(l)
	// Those under way elsewhere are few. One of them whose replica has died is
	// nobody's any more, and should not wait behind what is new.
	for _, status := range []storage.TaskStatus{storage.TaskRunning, storage.TaskWaiting} {
		f := storage.TaskFilter{Kinds: d.kinds, Source: d.source, Statuses: []storage.TaskStatus{status}, Limit: 20}
		for d.room() {
			var page storage.Page[*storage.Task]
			err := base.persist(ctx, "look for tasks", func() (err error) {
				page, err = d.r.Store.Tasks(ctx, f)
				return err
			})
			if err != nil {
				return err
			}
			for _, t := range page.Items {
				if !d.room() {
					return nil
				}
				if !d.mayTake(t) {
					continue
				}
				if err := d.take(ctx, t); err != nil {
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
func (d *desk) room() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.busy) < d.size
}

func (d *desk) mayTake(t *storage.Task) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.busy[t.ID] && !standing(t) && !d.r.Now().Before(d.later[t.ID])
}

// standing reports whether a task is one that never ends, which has a loop of
// its own.
func standing(t *storage.Task) bool { return t.ID == t.Kind+"/"+t.Source }

// take works on a task, unless somebody else does.
func (d *desk) take(ctx context.Context, t *storage.Task) error {
	lease, err := d.r.Streams.Task(ctx, t.ID, d.r.ID)
	if err != nil {
		d.leave(t.ID, err)
		if errors.Is(err, stream.ErrHeld) {
			return nil
		}
		return fmt.Errorf("%w: %w", errNoLease, err)
	}
	d.mu.Lock()
	d.busy[t.ID] = true
	d.mu.Unlock()
	d.work.Go(func() {
		err := d.r.workOn(ctx, lease, nil, once(d.r.runners[t.Kind]))
		switch {
		case err == nil, ctx.Err() != nil, errors.Is(err, errLater), errors.Is(err, errLostLease):
		default:
			d.r.Logger.Warn("a task could not be worked on; it is tried again", "task", t.ID, "error", err)
		}
		d.leave(t.ID, err)
	})
	return nil
}

// leave takes a task from the desk. Unless it is over, it is not looked at
// again at once.
func (d *desk) leave(id string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.busy, id)
	now := d.r.Now()
	maps.DeleteFunc(d.later, func(_ string, until time.Time) bool { return !now.Before(until) })
	if err != nil {
		d.later[id] = now.Add(d.r.Poll)
		return
	}
	select { // there may be more
	case d.ended <- struct{}{}:
	default:
	}
}
