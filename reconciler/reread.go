package reconciler

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// reread reads again, by the definition as it is now, the events of a source that have
// a note, such as those that lacked a required value while a setting was wrong. An event
// whose note is another now is appended as its webhook was, and the worker that logs it
// takes up what it names. The others count as failed.
//
// An event may be appended twice if the process dies. The second one changes nothing.
func (r *Reconciler) reread(ctx context.Context, w *work) error {
	spec, state, err := specOf(w.task)
	if err != nil {
		return err
	}
	s := r.source(spec.Filter.Source)
	if s == nil {
		return fmt.Errorf("source %q is not configured", spec.Filter.Source)
	}
	f := storage.EventFilter{
		Source: s.Name, Type: spec.Filter.Type, Note: event.ParseNote(spec.Note), From: spec.Filter.From, To: spec.Filter.To,
		Limit: jobPage, Cursor: state.After,
	}
	if f.Note == 0 {
		return fmt.Errorf("spec of job %s: %q is no note", w.task.ID, spec.Note)
	}
	if spec.Rate > 0 {
		f.Limit = max(1, min(jobPage, int(spec.Rate))) // a second's worth
	}
	if f.To.IsZero() {
		f.To = w.task.CreatedAt
	}
	if w.task.Counts == nil {
		w.task.Counts = map[string]int64{}
	}
	for {
		begun := time.Now()
		var page storage.Page[*storage.EventRow]
		err := r.base.persist(ctx, "list events", func() (err error) {
			page, err = r.Store.Events(ctx, f)
			return err
		})
		if err != nil {
			return err
		}
		slices.Reverse(page.Items) // as they came
		n, err := r.rereadPage(ctx, s, page.Items)
		if err != nil {
			return err
		}
		w.task.Counts["done"] += int64(n)
		w.task.Counts["failed"] += int64(len(page.Items) - n)
		f.Cursor = page.NextCursor
		w.task.State = encodeState(jobState{After: f.Cursor})
		if err := w.save(ctx); err != nil || f.Cursor == "" {
			return err
		}
		if spec.Rate > 0 {
			if err := w.rest(ctx, time.Duration(float64(len(page.Items))/spec.Rate*float64(time.Second))-time.Since(begun)); err != nil {
				return err
			}
		}
	}
}

// rereadPage appends those of some events that have another note now, and returns how
// many.
func (r *Reconciler) rereadPage(ctx context.Context, s *source, rows []*storage.EventRow) (int, error) {
	var drafts []stream.Draft
	homes := map[string]event.Key{}
	for _, row := range rows {
		e, err := s.Definition.Stored(row.Kept())
		if err != nil || e.Note == row.Note {
			continue
		}
		drafts = append(drafts, draftOf(e))
		homes[e.ID] = e.Home()
	}
	if len(drafts) == 0 {
		return 0, nil
	}
	err := r.base.insist(ctx, "append events that were read again", func() error {
		if err := r.Streams.ForgetEvents(ctx, homes); err != nil { // it would be a duplicate
			return err
		}
		_, err := r.Streams.AppendAll(ctx, drafts)
		return err
	})
	return len(drafts), err
}
