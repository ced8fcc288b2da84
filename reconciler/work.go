package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// The kinds of tasks.
const (
	kindGaps          = "gaps"
	kindSweep         = string(modeSweep)
	kindBackfill      = string(modeBackfill)
	kindVerify        = string(modeVerify)
	kindPartition     = "partition"
	kindRedrive       = storage.KindRedrive
	kindDiscard       = storage.KindDiscard
	kindDiscardSource = storage.KindDiscardSource
	kindReread        = storage.KindReread
	kindErase         = storage.KindErase
	kindRestore       = storage.KindRestore
	kindRecover       = storage.KindRecover
	kindJudge         = "judge"
	kindSubscription  = "subscription"
	kindStaleness     = "staleness"
	kindOutbox        = "outbox"
	kindFeed          = stream.FeedTask
)

// The error of its runner decides what becomes of a task. The package comment has
// the states.
var (
	// errCancelled: an operator, or the end of the parent task, cancels it.
	errCancelled = errors.New("cancelled")
	// errLostLease: another replica may have it.
	errLostLease = errors.New("the lease was lost")
	// errLater: there is nothing to do at the moment. Any replica may take it again.
	errLater = errors.New("later")
	// errNoLease: Redis did not say whether the task is free.
	errNoLease = errors.New("no answer about a lease")
)

// runner runs a task. It returns nil when the task is done, errCancelled,
// errLostLease or errLater, or any other error when the task has failed. ctx ends
// when the lease is lost or the process stops; the error is ignored then.
type runner func(ctx context.Context, w *work) error

// work is one task under way.
type work struct {
	r    *Reconciler
	task *storage.Task
	// lease fences what is saved.
	lease *stream.TaskLease
	// loop is the loop of a standing task. Nil for others.
	loop *telemetry.Loop
}

// visit takes a task's lease and runs the task. It returns stream.ErrHeld if
// another replica has the lease. Other errors: errNoLease, the runner's error,
// errLostLease, a read of the task, or ctx's.
func (r *Reconciler) visit(ctx context.Context, id string, l *telemetry.Loop, run runner) error {
	lease, err := r.Streams.Task(ctx, id, r.ID)
	switch {
	case errors.Is(err, stream.ErrHeld):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errNoLease, err)
	}
	return r.workOn(ctx, lease, l, run)
}

// workOn runs the task of a lease, and releases the lease.
func (r *Reconciler) workOn(ctx context.Context, lease *stream.TaskLease, l *telemetry.Loop, run runner) error {
	held, release := r.hold(ctx, lease)
	defer release()
	w, id := &work{r: r, lease: lease, loop: l}, lease.Name()
	// Read under the lease: the holder before may have come further than a list
	// showed.
	err := r.waiting(l).persist(held, "read task "+id, func() (err error) {
		w.task, err = r.Store.Task(held, id)
		return err
	})
	if err == nil && !w.task.Status.Final() {
		err = run(held, w)
	}
	if held.Err() != nil {
		return context.Cause(held)
	}
	return err
}

// hold renews a lease until release is called. held ends with errLostLease when
// the lease may have run out.
func (r *Reconciler) hold(ctx context.Context, lease *stream.TaskLease) (held context.Context, release func()) {
	held, lose := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(r.LeaseTTL / 5)
		defer tick.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-tick.C:
			}
			err := lease.Renew(held)
			if err == nil || held.Err() != nil {
				continue
			}
			if errors.Is(err, stream.ErrFenced) || !lease.Valid() {
				r.Metrics.LeasesLost.Inc()
				r.sparing.Info("lost the lease of a task; another replica continues it", "task", lease.Name(), "error", err)
				lose(errLostLease)
				return
			}
		}
	}()
	return held, func() {
		lose(nil)
		<-done
		// Also when the process stops: another replica continues at once.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := lease.Release(last); err != nil {
			r.sparing.Info("could not release the lease of a task; it expires by itself", "task", lease.Name(), "error", err)
		}
	}
}

// once returns a runner for a task that ends; it stores what became of the task.
func once(run runner) runner {
	return func(ctx context.Context, w *work) error {
		err := w.begin(ctx)
		if err == nil {
			err = loops.Safely(func() error { return run(ctx, w) })
		}
		if ctx.Err() != nil {
			return err
		}
		return w.end(ctx, err)
	}
}

// begin stores that the task is running.
func (w *work) begin(ctx context.Context) error {
	if w.task.StartedAt.IsZero() {
		w.task.StartedAt = w.r.Now().UTC()
	}
	return w.save(ctx)
}

// save stores State, Counts and Error under the lease's epoch. It returns
// errLostLease if a later holder has saved, and errCancelled if the task is to end.
func (w *work) save(ctx context.Context) error {
	saved, err := w.store(ctx, storage.TaskRunning)
	switch {
	case err != nil:
		return err
	case !saved:
		return w.refused(ctx)
	case w.task.Cancel:
		return errCancelled
	}
	return nil
}

func (w *work) store(ctx context.Context, status storage.TaskStatus) (saved bool, err error) {
	if !w.lease.Valid() {
		return false, errLostLease
	}
	t := w.task
	t.Status, t.Epoch, t.UpdatedAt = status, w.lease.Epoch(), w.r.Now().UTC()
	err = w.r.waiting(w.loop).persist(ctx, "save task "+t.ID, func() error {
		saved, err = w.r.Store.SaveTask(ctx, t)
		return err
	})
	return saved, err
}

// refused returns why the store did not save the task.
func (w *work) refused(ctx context.Context) error {
	var now *storage.Task
	err := w.r.waiting(w.loop).persist(ctx, "read task "+w.task.ID, func() (err error) {
		now, err = w.r.Store.Task(ctx, w.task.ID)
		return err
	})
	switch {
	case err != nil:
		return err
	case now.Status == storage.TaskCancelled && now.Epoch <= w.lease.Epoch():
		return errCancelled // before a replica had begun it
	}
	return errLostLease
}

// rest waits for d. It returns early if the task is cancelled.
func (w *work) rest(ctx context.Context, d time.Duration) error {
	for until := time.Now().Add(d); ; {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		if !loops.Sleep(ctx, min(left, w.r.Poll)) {
			return ctx.Err()
		}
		if err := w.save(ctx); err != nil {
			return err
		}
	}
}

// end stores what became of the task.
func (w *work) end(ctx context.Context, err error) error {
	status := storage.TaskDone
	switch {
	case errors.Is(err, errLater), errors.Is(err, errLostLease):
		return err
	case errors.Is(err, errCancelled):
		status = storage.TaskCancelled
	case err != nil:
		status = storage.TaskFailed
		w.task.Error, _, _ = strings.Cut(err.Error(), "\n") // the rest is a stack, for the log
		w.r.Logger.Error("a task has failed", "task", w.task.ID, "kind", w.task.Kind, "source", w.task.Source, "error", err)
	}
	if status != storage.TaskDone {
		if err := w.cancelParts(ctx); err != nil {
			return err
		}
	}
	w.task.FinishedAt = w.r.Now().UTC()
	_, err = w.store(ctx, status)
	return err
}

// cancelParts cancels the partitions of a task that ends before they do. A
// partition that is made at this moment finds that its parent is over.
func (w *work) cancelParts(ctx context.Context) error {
	var open []string
	f := storage.TaskFilter{Parent: w.task.ID, Statuses: []storage.TaskStatus{storage.TaskWaiting, storage.TaskRunning}}
	if err := eachTask(ctx, w.r.waiting(w.loop), f, func(t *storage.Task) { open = append(open, t.ID) }); err != nil {
		return err
	}
	for _, id := range open {
		err := w.r.waiting(w.loop).persist(ctx, "cancel a partition", func() error {
			_, err := w.r.Store.CancelTask(ctx, id)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// decodeState decodes a task's state. No state is the zero value.
func decodeState[T any](state []byte) (v T, err error) {
	if len(state) == 0 {
		return v, nil
	}
	if err := json.Unmarshal(state, &v); err != nil {
		return v, fmt.Errorf("read the state of a task: %w", err)
	}
	return v, nil
}

func encodeState(v any) []byte {
	b, _ := json.Marshal(v) // plain fields always encode
	return b
}
