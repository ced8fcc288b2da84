package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// jobPage is how many dead letters a job handles at once. Progress is saved after each
// page, and a cancelled job ends there.
const jobPage = 100

// jobState is how far a job on dead letters has come.
type jobState struct {
	// After is the cursor of the next page.
	After string `json:"after,omitempty"`
}

// redrive appends again the work of the dead letters that a filter selects. It appends
// the work first and then closes the dead letter. If the process dies in between, the
// dead letter stays open, and its own work supersedes it or buries it again. In the
// reverse order the work would be lost until recovery finds it.
func (r *Reconciler) redrive(ctx context.Context, w *work) error {
	return r.eachLetter(ctx, w, func(ctx context.Context, _ storage.RedriveSpec, letters []*storage.LetterRecord) (int, error) {
		drafts := make([]stream.Draft, len(letters))
		for i, l := range letters {
			s, err := r.again(ctx, l)
			if err != nil {
				return 0, err
			}
			drafts[i] = stream.Draft{Signal: s}
		}
		var receipts []stream.Receipt
		err := r.base.insist(ctx, "append the work of dead letters", func() (err error) {
			receipts, err = r.Streams.AppendAll(ctx, drafts)
			return err
		})
		if err != nil {
			return 0, err
		}
		// A dead letter may be superseded by its own work already. That is right.
		if _, err := r.Store.Redriven(ctx, idsOf(letters), w.task.By, r.Now().UTC()); err != nil {
			return 0, err
		}
		return len(letters), r.Store.Requeued(ctx, standFor(letters, receipts))
	})
}

// standFor returns the entries that carry the work from now on, for recovery.
func standFor(letters []*storage.LetterRecord, receipts []stream.Receipt) []storage.Requeue {
	out := make([]storage.Requeue, len(letters))
	for i, l := range letters {
		out[i] = storage.Requeue{
			Source: l.Source, EventID: l.EventID, Entity: l.Ref.Key,
			Signal: storage.SignalID{Shard: receipts[i].Shard, ID: receipts[i].ID},
		}
	}
	return out
}

// again is the signal for a dead letter's work. It has no payload, which the event's row
// has.
func (r *Reconciler) again(ctx context.Context, l *storage.LetterRecord) (event.Signal, error) {
	s := event.Signal{
		Ref: l.Ref, Cause: event.CauseEvent, CauseID: l.EventID, EventType: l.EventType, Class: event.Redrive,
	}
	rows, err := r.Store.EventByID(ctx, l.Source, l.EventID)
	switch {
	case errors.Is(err, storage.ErrNotFound): // the dead letter has all that a fetch needs
		return s, nil
	case err != nil:
		return s, err
	}
	s.EventType, s.CreatedAt = rows[0].Type, event.OrderTime(rows[0].CreatedAt, rows[0].ReceivedAt)
	return s, nil
}

// discard discards the dead letters that a filter selects.
func (r *Reconciler) discard(ctx context.Context, w *work) error {
	return r.eachLetter(ctx, w, func(ctx context.Context, spec storage.RedriveSpec, letters []*storage.LetterRecord) (int, error) {
		return r.Store.Discard(ctx, idsOf(letters), w.task.By, spec.Reason, r.Now().UTC())
	})
}

func idsOf(letters []*storage.LetterRecord) []string {
	ids := make([]string, len(letters))
	for i, l := range letters {
		ids[i] = l.ID()
	}
	return ids
}

// eachLetter goes through the open dead letters that a job's filter selects, page by
// page, at the job's rate. do says how many it did; the others have failed. The
// list is newest first; do gets each page oldest first, as the work once came.
func (r *Reconciler) eachLetter(ctx context.Context, w *work, do func(context.Context, storage.RedriveSpec, []*storage.LetterRecord) (int, error)) error {
	spec, filter, err := lettersOf(w.task)
	if err != nil {
		return err
	}
	if err := r.count(ctx, w, filter); err != nil {
		return err
	}
	for {
		begun := time.Now()
		var page storage.Page[*storage.LetterRecord]
		err := r.base.persist(ctx, "list dead letters", func() (err error) {
			page, err = r.Store.Letters(ctx, filter)
			return err
		})
		if err != nil {
			return err
		}
		n, done := len(page.Items), 0
		slices.Reverse(page.Items)
		if n > 0 {
			err := r.base.persist(ctx, w.task.Kind+" dead letters", func() (err error) {
				done, err = do(ctx, spec, page.Items)
				return err
			})
			if err != nil {
				return err
			}
		}
		w.task.Counts["done"] += int64(done)
		w.task.Counts["failed"] += int64(n - done)
		filter.Cursor = page.NextCursor
		w.task.State = encodeState(jobState{After: filter.Cursor})
		if err := w.save(ctx); err != nil || filter.Cursor == "" {
			return err
		}
		if spec.Rate > 0 {
			if err := w.rest(ctx, time.Duration(float64(n)/spec.Rate*float64(time.Second))-time.Since(begun)); err != nil {
				return err
			}
		}
	}
}

// lettersOf reads the filter of a job, with the cursor where it resumes.
func lettersOf(t *storage.Task) (spec storage.RedriveSpec, f storage.LetterFilter, err error) {
	spec, state, err := specOf(t)
	if err != nil {
		return spec, f, err
	}
	f = spec.Filter
	f.Status, f.Cursor, f.Limit = storage.LetterOpen, state.After, jobPage
	if spec.Rate > 0 {
		f.Limit = max(1, min(jobPage, int(spec.Rate))) // a second's worth
	}
	if f.To.IsZero() {
		f.To = t.CreatedAt
	}
	return spec, f, nil
}

// specOf reads what a job is to do and how far it has come.
func specOf(t *storage.Task) (spec storage.RedriveSpec, state jobState, err error) {
	if spec, err = decodeState[storage.RedriveSpec](t.Spec); err != nil {
		return spec, state, fmt.Errorf("spec of job %s: %w", t.ID, err)
	}
	state, err = decodeState[jobState](t.State)
	return spec, state, err
}

// count notes how many dead letters a job selects, unless that was noted when it
// was started.
func (r *Reconciler) count(ctx context.Context, w *work, f storage.LetterFilter) error {
	if w.task.Counts == nil {
		w.task.Counts = map[string]int64{}
	}
	if _, counted := w.task.Counts["total"]; counted {
		return nil
	}
	return r.base.persist(ctx, "count dead letters", func() (err error) {
		w.task.Counts["total"], err = r.Store.CountLetters(ctx, f)
		return err
	})
}
