package reconciler

import (
	"context"
	"slices"

	"github.com/tarn-sync/tarn/shared/mirror"
)

// kindSwept is of tasks that are no work: each notes that a sweep or backfill of
// a kind of a source has once been finished. They are done when they are made and
// never said when they finished, so they are not forgotten.
const kindSwept = "swept"

// What the mirror lacks before its first sweep was finished was there before the
// mirror, and nobody has missed an event of it. So until then differences of a
// kind are fetched and not recorded, also of one that a new version of the
// definition has added. Events that workers have mirrored meanwhile change
// nothing about that.

// unswept are those of the kinds of which no sweep or backfill has been finished.
func (f *finder) unswept(ctx context.Context, kinds []string) ([]string, error) {
	swept := map[string]bool{}
	note := func(t *mirror.Task) {
		if kind, err := decodeState[sweptSpec](t.Spec); err == nil {
			swept[kind.Kind] = true
		}
	}
	err := eachTask(ctx, f, mirror.TaskFilter{Kinds: []string{kindSwept}, Source: f.name}, note)
	if err == nil && len(swept) == 0 {
		swept, err = f.sweptBefore(ctx)
	}
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool { return swept[kind] }), nil
}

// sweptSpec is the spec of a task of kind swept.
type sweptSpec struct {
	Kind string `json:"kind"`
}

// sweptBefore are the kinds of which a version that made no notes has finished a
// sweep or backfill, as far as its tasks are not forgotten; it notes them.
func (f *finder) sweptBefore(ctx context.Context) (map[string]bool, error) {
	var done []*mirror.Task
	err := eachTask(ctx, f, mirror.TaskFilter{
		Kinds: []string{kindSweep, kindBackfill}, Source: f.name, Statuses: []mirror.TaskStatus{mirror.TaskDone},
	}, func(t *mirror.Task) { done = append(done, t) })
	if err != nil {
		return nil, err
	}
	swept := map[string]bool{}
	for _, t := range done {
		spec, err := decodeState[mirror.SweepSpec](t.Spec)
		if err != nil || t.Kind == kindBackfill && !spec.Since.IsZero() {
			continue
		}
		// A sweep has checked each kind the definition had then. A backfill checks
		// none, and the kinds it was of may not be those of today: it tells by what
		// it has seen.
		err = eachTask(ctx, f, mirror.TaskFilter{Parent: t.ID}, func(part *mirror.Task) {
			if spec, err := decodeState[partitionSpec](part.Spec); err == nil && spec.Check != "" {
				swept[spec.Check] = true
			}
			for _, kind := range f.kinds() {
				swept[kind] = swept[kind] || part.Counts["kind."+kind] > 0
			}
		})
		if err != nil {
			return nil, err
		}
	}
	var kinds []string
	for _, kind := range f.kinds() {
		if swept[kind] {
			kinds = append(kinds, kind)
		}
	}
	return swept, f.noteSwept(ctx, kinds, "an earlier version")
}

// noteSwept notes that a sweep or backfill of the kinds has been finished.
func (f *finder) noteSwept(ctx context.Context, kinds []string, by string) error {
	if len(kinds) == 0 {
		return nil
	}
	tasks := make([]*mirror.Task, len(kinds))
	for i, kind := range kinds {
		tasks[i] = &mirror.Task{
			ID: kindSwept + "/" + f.name + "/" + kind, Kind: kindSwept, Source: f.name, Status: mirror.TaskDone, By: by,
			Spec: encodeState(sweptSpec{kind}), CreatedAt: f.now().UTC(),
		}
	}
	return f.persist(ctx, "note which kinds were swept", func() error { return f.store.CreateTasks(ctx, tasks) })
}

// fills decides when a sweep begins which of its kinds it fills, as a backfill
// does.
func (s *sweep) fills(ctx context.Context) (err error) {
	if s.mode != modeSweep {
		return nil
	}
	s.state.Fill, err = s.unswept(ctx, s.wanted())
	if len(s.state.Fill) > 0 {
		s.log.Info("no sweep of these kinds has been finished yet: what the mirror lacks of them is fetched, and no discrepancy",
			"source", s.name, "sweep", s.task.ID, "kinds", s.state.Fill)
	}
	return err
}

// finished notes the kinds of a sweep or backfill that is over. A kind of which
// no list is known whole stays as it was.
func (s *sweep) finished(ctx context.Context) error {
	if s.mode == modeVerify || !s.spec.Since.IsZero() {
		return nil
	}
	failed, err := s.failed(ctx)
	if err != nil {
		return err
	}
	kinds := slices.DeleteFunc(s.wanted(), func(kind string) bool {
		return slices.Contains(failed[kind], kind) || slices.Contains(failed[kind], listName(kind, nil))
	})
	return s.noteSwept(ctx, kinds, s.task.ID)
}

// wanted are the names of the kinds of a sweep.
func (s *sweep) wanted() []string {
	if len(s.spec.Kinds) > 0 {
		return slices.Clone(s.spec.Kinds)
	}
	return s.finder.kinds()
}
