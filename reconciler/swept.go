package reconciler

import (
	"context"
	"slices"
	"strings"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// kindSwept is of tasks that are no work: each notes that a sweep or backfill of
// a kind of a source has once been finished. They never say when they finished,
// so they are not forgotten. One with exceptions is running, and done without.
const kindSwept = "swept"

// What the mirror lacks before its first sweep was finished was there before the
// mirror, and nobody has missed an event of it. So until then differences of a
// kind are fetched and not recorded, also of one that a new version of the
// definition has added. Events that workers have mirrored meanwhile change
// nothing about that.
//
// A sweep is finished of what it has read and workers have fetched. A list that
// could not be read, and an entity that could not be fetched, are exceptions of
// their kind's note: differences of those alone are fetched and not recorded, until
// a sweep has had them. So one list that always fails hides nothing of the others.
// Where it could not even be told which lists there are, since the list of what
// they stand under failed, the kind gets no note.

// mostExceptions is how many exceptions a note may have; a kind with more gets
// none.
const mostExceptions = 500

// sweptSpec is the spec of a task of kind swept.
type sweptSpec struct {
	Kind string `json:"kind"`
}

// sweptState is its state.
type sweptState struct {
	// Except are lists, as listName writes them, and keys of entities.
	Except []string `json:"except,omitempty"`
}

// swept is the note of a kind.
type swept struct {
	task   *storage.Task
	except []string
}

// sweptKinds are the notes of the source, by kind.
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

// unswept are those of the kinds of which no sweep or backfill has been finished.
func (f *finder) unswept(ctx context.Context, kinds []string) ([]string, error) {
	notes, err := f.sweptKinds(ctx)
	if err != nil {
		return nil, err
	}
	return withoutNote(kinds, notes), nil
}

// withoutNote are those of the kinds that have no note.
func withoutNote(kinds []string, notes map[string]swept) []string {
	return slices.DeleteFunc(slices.Clone(kinds), func(kind string) bool {
		_, ok := notes[kind]
		return ok
	})
}

// sweptBefore are the kinds of which a version that made no notes has finished a
// sweep or backfill, as far as its tasks are not forgotten; it notes them.
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
		// none, and the kinds it was of may not be those of today: it tells by what
		// it has seen.
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

// noteSwept notes that a sweep or backfill of the kinds has been finished.
func (f *finder) noteSwept(ctx context.Context, kinds []string, by string) error {
	for _, kind := range kinds {
		if err := f.saveSwept(ctx, kind, swept{}, nil, by); err != nil {
			return err
		}
	}
	return nil
}

// saveSwept writes the note of a kind. Two sweeps that end at once may each leave
// what the other has had among the exceptions: the next one removes it.
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

// decideFill decides when a sweep begins what of its kinds it fills, as a backfill
// does: kinds without a note, and exceptions of those that have one.
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
		s.log.Info("no sweep of these kinds, lists and entities has been finished yet: what the mirror lacks of them is fetched, and no discrepancy",
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
			// What was read whole once stays so: a list that fails later is none.
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

// exceptions are what a sweep has not had of a kind. False: that is not known, or
// more than a note may have.
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

// fillUnder are those of what is filled that may be found under some ids.
func fillUnder(fill, ids []string) []string {
	return slices.DeleteFunc(slices.Clone(fill), func(name string) bool {
		kind, parents, isList := strings.Cut(name, "|")
		isList = isList && !strings.Contains(kind, "/") // or it is an entity
		return isList && !slices.ContainsFunc(strings.Split(parents, "|"), func(id string) bool { return slices.Contains(ids, id) })
	})
}
