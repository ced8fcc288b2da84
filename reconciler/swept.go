package reconciler

import (
	"context"
	"slices"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// kindSwept is the kind of tasks that are notes, not work. Each notes that a sweep or
// backfill of a kind of a source has finished once. They have no finishing time, so
// they are not forgotten. A note with exceptions has the status running, one without
// is done.
const kindSwept = "swept"

// What the mirror lacks before its first sweep has finished was there before the
// mirror, so no event of it was missed. Until then the differences of a kind are
// fetched and not recorded. The same holds for a kind that a new version of the
// definition adds. Events that workers mirror meanwhile do not change that.
//
// A sweep finishes the lists it has read and the entities that workers have fetched. A
// list that could not be read, and an entity that could not be fetched, are exceptions
// in their kind's note: their differences are fetched and not recorded until a sweep
// gets them. So one list that always fails hides nothing of the others. If the list of
// the parents failed, the lists below are not known, and the kind gets no note.

// mostExceptions is how many exceptions a note may have; a kind with more gets
// none.
const mostExceptions = 500

// sweptSpec is the spec of a task of kind swept.
type sweptSpec struct {
	Kind string `json:"kind"`
}

// sweptState is the state of a task of kind swept.
type sweptState struct {
	// Except are lists, as listName writes them, and keys of entities.
	Except []string `json:"except,omitempty"`
}

// swept is the note of a kind.
type swept struct {
	task   *storage.Task
	except []string
}

// sweptKinds returns the notes of the source, by kind.
func (f *finder) sweptKinds(ctx context.Context) (map[string]swept, error) {
	notes := map[string]swept{}
	err := eachTask(ctx, f, storage.TaskFilter{Kinds: []string{kindSwept}, Source: f.name}, func(t *storage.Task) {
		spec, err := decodeState[sweptSpec](t.Spec)
		if err != nil {
			return
		}
		// One whose state cannot be read was not written by this program.
		state, _ := decodeState[sweptState](t.State)
		notes[spec.Kind] = swept{t, state.Except}
	})
	if err == nil && len(notes) == 0 {
		var before []string
		before, err = f.sweptBefore(ctx)
		for _, kind := range before {
			notes[kind] = swept{}
		}
	}
	return notes, err
}

// unswept returns the kinds of which no sweep or backfill has finished.
func (f *finder) unswept(ctx context.Context, kinds []string) ([]string, error) {
	notes, err := f.sweptKinds(ctx)
	if err != nil {
		return nil, err
	}
	return withoutNote(kinds, notes), nil
}

// withoutNote returns the kinds that have no note.
func withoutNote(kinds []string, notes map[string]swept) []string {
	return slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool {
		_, ok := notes[kind]
		return ok
	})
}

// sweptBefore returns the kinds of which an earlier version, which made no notes, has
// finished a sweep or backfill, as far as its tasks are still stored. It notes them.
func (f *finder) sweptBefore(ctx context.Context) (kinds []string, err error) {
	var done []*storage.Task
	err = eachTask(ctx, f, storage.TaskFilter{
		Kinds: []string{kindSweep, kindBackfill}, Source: f.name, Statuses: []storage.TaskStatus{storage.TaskDone},
	}, func(t *storage.Task) { done = append(done, t) })
	if err != nil {
		return nil, err
	}
	before := map[string]bool{}
	for _, t := range done {
		spec, err := decodeState[storage.SweepSpec](t.Spec)
		if err != nil || t.Error != "" || t.Kind == kindBackfill && !spec.Since.IsZero() {
			continue // it was not of everything, or not whole
		}
		// A sweep has checked each kind the definition had then. A backfill checks
		// none, and the definition's kinds may have changed since: the kinds it has
		// seen count.
		err = eachTask(ctx, f, storage.TaskFilter{Parent: t.ID}, func(part *storage.Task) {
			if spec, err := decodeState[partitionSpec](part.Spec); err == nil && spec.Check != "" {
				before[spec.Check] = true
			}
			for _, kind := range f.kinds() {
				before[kind] = before[kind] || part.Counts["kind."+kind] > 0
			}
		})
		if err != nil {
			return nil, err
		}
	}
	for _, kind := range f.kinds() {
		if before[kind] {
			kinds = append(kinds, kind)
		}
	}
	return kinds, f.noteSwept(ctx, kinds, "an earlier version")
}

// noteSwept notes that a sweep or backfill of the kinds has finished.
func (f *finder) noteSwept(ctx context.Context, kinds []string, by string) error {
	for _, kind := range kinds {
		if err := f.saveSwept(ctx, kind, swept{}, nil, by); err != nil {
			return err
		}
	}
	return nil
}

// saveSwept writes the note of a kind. Two sweeps that end at once may each keep an
// exception that the other has cleared: the next sweep removes it.
func (f *finder) saveSwept(ctx context.Context, kind string, have swept, except []string, by string) error {
	t := have.task
	if t == nil {
		t = &storage.Task{
			ID: kindSwept + "/" + f.name + "/" + kind, Kind: kindSwept, Source: f.name, By: by,
			Spec: encodeState(sweptSpec{kind}), CreatedAt: f.now().UTC(),
		}
	}
	t.Status, t.State, t.UpdatedAt = storage.TaskDone, nil, f.now().UTC()
	if len(except) > 0 {
		t.Status, t.State = storage.TaskRunning, encodeState(sweptState{except})
	}
	return f.persist(ctx, "note which kinds were swept", func() error {
		if have.task == nil {
			return f.store.CreateTasks(ctx, []*storage.Task{t})
		}
		_, err := f.store.SaveTask(ctx, t) // false: another has noted it as swept whole
		return err
	})
}

// decideFill decides, when a sweep begins, what it fills as a backfill does: kinds
// without a note, and the exceptions of those with one.
func (s *sweep) decideFill(ctx context.Context) error {
	if s.mode != modeSweep {
		return nil
	}
	notes, err := s.sweptKinds(ctx)
	if err != nil {
		return err
	}
	s.state.Fill = withoutNote(s.wanted(), notes)
	for _, kind := range s.wanted() {
		s.state.Fill = append(s.state.Fill, notes[kind].except...)
	}
	if len(s.state.Fill) > 0 {
		s.log.Info("no sweep of these kinds, lists and entities has finished yet: what the mirror lacks of them is fetched and not recorded",
			"source", s.name, "sweep", s.task.ID, "fill", s.state.Fill)
	}
	return nil
}

// noteKinds notes the kinds of a sweep or backfill that is over.
func (s *sweep) noteKinds(ctx context.Context) error {
	if s.mode == modeVerify || !s.spec.Since.IsZero() || s.state.Stalled != "" {
		return nil
	}
	failed, err := s.failed(ctx)
	if err != nil {
		return err
	}
	notes, err := s.sweptKinds(ctx)
	if err != nil {
		return err
	}
	for _, kind := range s.wanted() {
		note, noted := notes[kind]
		if noted && len(note.except) == 0 {
			continue
		}
		except, ok := s.exceptions(kind, failed[kind])
		if noted {
			// A list that was read whole once is no exception when it fails later.
			except = slices.DeleteFunc(slices.Clone(note.except), func(name string) bool {
				return ok && !slices.Contains(except, name)
			})
		} else if !ok {
			continue
		}
		if err := s.saveSwept(ctx, kind, note, except, s.task.ID); err != nil {
			return err
		}
	}
	return nil
}

// exceptions returns what a sweep did not get of a kind. ok is false if that is not
// known, or more than a note may have.
func (s *sweep) exceptions(kind string, failed []string) (except []string, ok bool) {
	if slices.Contains(failed, kind) || s.state.MoreUnfetched {
		return nil, false
	}
	except = append(slices.Clone(failed), s.state.Unfetched[kind]...)
	return except, len(except) <= mostExceptions
}

// wanted are the names of the kinds of a sweep.
func (s *sweep) wanted() []string {
	if len(s.spec.Kinds) > 0 {
		return slices.Clone(s.spec.Kinds)
	}
	return s.finder.kinds()
}

// fills reports whether a difference of an entity is fetched and not recorded.
func (s *survey) fills(ref event.Ref) bool {
	if len(s.fill) == 0 {
		return false
	}
	names := []string{ref.Key.Kind, listName(ref.Key.Kind, ref.Parents), ref.Key.String()}
	if k := s.def.Kind(ref.Key.Kind); k != nil {
		if parents, ok := k.Parents(ref.Parents); ok {
			names = append(names, listName(ref.Key.Kind, parents))
		}
	}
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(s.fill, name) })
}

// fillUnder returns the part of fill that may be found under some ids.
func fillUnder(fill, ids []string) []string {
	return slices.DeleteFunc(slices.Clone(fill), func(name string) bool {
		kind, parents, isList := strings.Cut(name, "|")
		isList = isList && !strings.Contains(kind, "/") // or it is an entity
		return isList && !slices.ContainsFunc(strings.Split(parents, "|"), func(id string) bool { return slices.Contains(ids, id) })
	})
}
