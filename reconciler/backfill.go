package reconciler

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
)

// BackfillOptions say what Backfill fills.
type BackfillOptions struct {
	// Source is the source's name.
	Source string
	// Kinds are the kinds filled. None: all that can be found.
	Kinds []string
	// Since limits the fill to what an event since then names. Zero: everything.
	Since time.Time
	// Rate is the most list pages asked for a second, within the source's
	// budget. 0: no limit of its own.
	Rate float64
	// Out is where progress is shown: a bar if it is a terminal, JSON lines
	// otherwise. Nil: nowhere.
	Out io.Writer
	// Every is how often it is shown. Defaults to 1 s.
	Every time.Duration
}

// Backfill fills the mirror of a source. It returns when the mirror is filled, or when
// ctx ends. Workers must be running: they fetch what it finds. It resumes a backfill
// of the same kinds that was cut off, by kill -9 or otherwise. Other replicas help;
// none is needed. The error wraps ErrCutOff if another call resumes the backfill.
func (r *Reconciler) Backfill(ctx context.Context, o BackfillOptions) error {
	s := r.source(o.Source)
	if s == nil {
		return fmt.Errorf("no source %q is configured here", o.Source)
	}
	for _, name := range o.Kinds {
		if s.Definition.Kind(name) == nil {
			return fmt.Errorf("provider %s has no kind %q", s.Definition.Name, name)
		}
	}
	if !o.Since.IsZero() && !s.Definition.EventList().Kept {
		return fmt.Errorf("provider %s keeps no events that could be listed: leave out since", s.Definition.Name)
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Out == nil {
		o.Out = io.Discard
	}
	f := r.finder(s, nil)
	task, err := r.backfillTask(ctx, f, o)
	if err != nil {
		return err
	}
	return r.attend(ctx, f, task.ID, o)
}

// attention is how often the command looks for work and for the backfill's end.
const attention = 100 * time.Millisecond

// ErrCutOff is wrapped by the error of a backfill that was cut off and can be
// resumed.
var ErrCutOff = errors.New("cut off; the same command resumes it")

// backfillTask finds the backfill that was cut off, or makes one.
func (r *Reconciler) backfillTask(ctx context.Context, f *finder, o BackfillOptions) (*storage.Task, error) {
	kinds := slices.Sorted(slices.Values(o.Kinds))
	var open *storage.Task
	filter := storage.TaskFilter{
		Kinds: []string{kindBackfill}, Source: f.name, Statuses: []storage.TaskStatus{storage.TaskWaiting, storage.TaskRunning},
	}
	err := eachTask(ctx, f, filter, func(t *storage.Task) {
		spec, err := decodeState[storage.SweepSpec](t.Spec)
		if err != nil || !slices.Equal(slices.Sorted(slices.Values(spec.Kinds)), kinds) {
			return
		}
		// A backfill that reaches as far back includes this one.
		if spec.Since.IsZero() == o.Since.IsZero() && !spec.Since.After(o.Since) {
			open = t
		}
	})
	if err != nil || open != nil {
		if open != nil {
			r.Logger.Info("resuming a backfill that was not finished", "task", open.ID, "begun", open.CreatedAt)
		}
		return open, err
	}
	spec := storage.SweepSpec{Kinds: kinds, Since: o.Since.UTC(), Rate: o.Rate}
	if o.Since.IsZero() {
		spec.Since = time.Time{}
	}
	t := sweepTask("backfill_"+strings.ToLower(rand.Text()), modeBackfill, f.name, "command", spec, r.Now())
	return t, f.persist(ctx, "begin a backfill", func() error { return r.Store.CreateTasks(ctx, []*storage.Task{t}) })
}

// attend works on the backfill, beside other replicas, and shows its progress until
// it is over.
func (r *Reconciler) attend(ctx context.Context, f *finder, id string, o BackfillOptions) error {
	working, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	hasty := *r // an operator watches
	hasty.Poll = min(r.Poll, attention)
	all.Go(func() { r.keep(working, "backfills "+f.name, hasty.taskQueue(f.name, 1, kindBackfill)) })
	all.Go(func() { r.keep(working, "partitions "+f.name, hasty.taskQueue(f.name, r.Parallel, kindPartition)) })
	show, pace := newDisplay(o.Out), pacer{}
	defer show.end()
	for {
		if err := r.untilShown(ctx, f, id, o.Every); err != nil {
			if ctx.Err() != nil {
				return cutOffAt(ctx, f, id, pace.last)
			}
			return err
		}
		t, p, err := r.progressOf(ctx, f, id)
		if ctx.Err() != nil {
			return cutOffAt(ctx, f, id, pace.last)
		}
		if err != nil {
			return err
		}
		if !t.Status.Final() && !pace.moved(p) {
			p.WaitsFor = f.waitsOn(ctx, t, p)
		}
		pace.mark(&p)
		show.show(p)
		switch {
		case !t.Status.Final():
		case t.Status != storage.TaskDone:
			return fmt.Errorf("backfill %s is %s: %s", id, t.Status, t.Error)
		default:
			return nil
		}
	}
}

// untilShown waits until progress is to be shown again, or the backfill is over.
func (r *Reconciler) untilShown(ctx context.Context, f *finder, id string, every time.Duration) error {
	for until := time.Now().Add(every); time.Now().Before(until); {
		if !loops.Sleep(ctx, min(attention, time.Until(until))) {
			return ctx.Err()
		}
		var t *storage.Task
		err := f.persist(ctx, "read task "+id, func() (err error) {
			t, err = r.Store.Task(ctx, id)
			return err
		})
		if err != nil || t.Status.Final() {
			return err
		}
	}
	return nil
}

// cutOffAt returns the error of a backfill whose ctx ended, with its progress.
func cutOffAt(ctx context.Context, f *finder, id string, p progress) error {
	return fmt.Errorf("backfill %s: %s; %s: %w", id, f.waitsFor(ctx), p.line(), ErrCutOff)
}

// progressOf reads the progress of a backfill.
func (r *Reconciler) progressOf(ctx context.Context, f *finder, id string) (*storage.Task, progress, error) {
	p := progress{At: r.Now().UTC(), Source: f.name, Task: id, Kinds: map[string]int64{}}
	var t *storage.Task
	err := f.persist(ctx, "read task "+id, func() (err error) {
		t, err = r.Store.Task(ctx, id)
		return err
	})
	if err != nil {
		return nil, p, err
	}
	listed := true // everything that has kinds under it
	var parents, walked int
	var failedLists int64
	err = eachTask(ctx, f, storage.TaskFilter{Parent: id}, func(part *storage.Task) {
		for name, n := range part.Counts {
			if kind, ok := strings.CutPrefix(name, "kind."); ok {
				p.Kinds[kind] += n
			}
		}
		p.Listed += part.Counts["entities"]
		p.Asked += part.Counts["signals"]
		p.APICalls += part.Counts["api_calls"]
		p.UncheckedCount += part.Counts["failed_checks"]
		failedLists += part.Counts["failed_lists"] + part.Counts["partial_lists"]
		spec, err := decodeState[partitionSpec](part.Spec)
		if err != nil {
			return // the partition itself fails by it
		}
		listed = listed && (spec.Under != "" || part.Status.Final())
		parents += len(spec.IDs)
		if part.Status.Final() {
			walked += len(spec.IDs)
		} else if state, err := decodeState[partitionState](part.State); err == nil {
			walked += state.At
		}
	})
	if err != nil {
		return nil, p, err
	}
	state, err := decodeState[sweepState](t.State)
	if err != nil {
		return nil, p, err
	}
	p.Phase, p.FailedListCount = string(state.Phase), failedLists
	if n, err := f.backlog(ctx); err == nil && !t.Status.Final() {
		p.Waiting = min(n, p.Asked)
	}
	switch {
	case t.Status == storage.TaskDone:
		p.Phase, p.Share = string(t.Status), 1
	case listed && p.Asked > 0:
		p.Share = float64(p.fetched()) / float64(p.Asked)
		if parents > 0 {
			p.Share *= float64(walked) / float64(parents)
		}
	}
	if t.Status.Final() {
		p.Phase, p.SweepOutcome, p.Missed = string(t.Status), state.SweepOutcome, t.Counts["not_fetched"]
		if t.Status != storage.TaskDone && p.Share == 1 {
			p.Share = 0 // without the whole no share is known
		}
	}
	return t, p, nil
}

// VerifyOnce compares everything a source's provider has with the mirror, in this
// process alone, and returns what differs. It repairs and records nothing; it only
// writes verified_at of documents. It checks a difference twice, so an event in flight
// causes none. When ctx ends first, or the source is paused for too long, it returns a
// report whose CutOff says so.
func (r *Reconciler) VerifyOnce(ctx context.Context, name string, o VerifyOptions) (*Report, error) {
	s := r.source(name)
	if s == nil {
		return nil, fmt.Errorf("no source %q is configured here", name)
	}
	return verifyOnce(ctx, r.finder(s, nil), o)
}
