package reconciler

import (
	"context"
	"errors"
	"fmt"

	"github.com/tarn-sync/tarn/shared/storage"
)

// search looks for missed events.
func (r *Reconciler) search(ctx context.Context, w *work) error {
	return r.engine(w.loop).gaps(ctx, w.task, w.save)
}

// compare advances a sweep, backfill or verification. It does not wait for its
// partitions.
func (r *Reconciler) compare(ctx context.Context, w *work) error {
	done, err := r.engine(w.loop).sweep(ctx, w.task, w.save)
	if err == nil && !done {
		return errLater
	}
	return err
}

// comparePart runs a partition, unless its sweep is over or cancelled.
func (r *Reconciler) comparePart(ctx context.Context, w *work) error {
	var whole *storage.Task
	err := r.waiting(w.loop).persist(ctx, "read task "+w.task.Parent, func() (err error) {
		whole, err = r.Store.Task(ctx, w.task.Parent)
		return err
	})
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return fmt.Errorf("partition of a sweep that is not there: %w", err)
	case err != nil:
		return err
	case whole.Status.Final() || whole.Cancel:
		return errCancelled
	}
	return r.engine(w.loop).partition(ctx, w.task, w.save)
}
