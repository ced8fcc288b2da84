package reconciler

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// phase is how far a sweep is.
type phase string

const (
	// phaseLists: partitions walk the lists.
	phaseLists phase = "lists"
	// phaseChecks: partitions check by id what no list showed.
	phaseChecks phase = "checks"
	// phaseFill: workers fetch what a backfill has asked for.
	phaseFill phase = storage.PhaseFill
)

// sweepState is how far a sweep has come.
type sweepState struct {
	Phase phase     `json:"phase,omitempty"`
	Begun time.Time `json:"begun,omitzero"`
	// Fill are the kinds, lists and entities of a sweep of which none has been
	// finished before.
	Fill []string `json:"fill,omitempty"`
	// Made: the partitions of the phase are there.
	Made bool `json:"made,omitempty"`
	// Summed is when the counts of the partitions were last added up. The task's
	// own time does not say that: it moves at each visit.
	Summed time.Time `json:"summed,omitzero"`
	// Filling is since when workers fetch what a backfill has asked for: all its
	// signals are older. It and the times below are by Redis' clock, as the ages of
	// signals are, so that replicas whose clocks differ can continue the sweep.
	Filling time.Time `json:"filling,omitzero"`
	// Backlog is the least background backlog seen since then, Oldest when the
	// oldest of it was appended, BacklogSince since when neither has moved.
	Backlog      int64     `json:"backlog,omitempty"`
	Oldest       time.Time `json:"oldest,omitzero"`
	BacklogSince time.Time `json:"backlog_since,omitzero"`
	// Stalled says why the sweep stopped waiting for workers. "": it did not.
	Stalled string `json:"stalled,omitempty"`
	// Before are the keys of entities that workers had been asked for before the sweep
	// began and had not fetched, by an event or a sync by hand perhaps; at most mostLooked.
	Before []string `json:"before,omitempty"`
	// UnfetchedSince is since when the sweep waits for the entities of NotFetched.
	UnfetchedSince time.Time `json:"unfetched_since,omitzero"`
	// Unfetched are the keys of the entities that were not fetched in the end, by
	// kind; MoreUnfetched is set if there are more than are kept.
	Unfetched     map[string][]string `json:"unfetched_keys,omitempty"`
	MoreUnfetched bool                `json:"more_unfetched,omitempty"`

	storage.SweepOutcome
}

// sumEvery is how often the counts of running partitions are added up.
const sumEvery = 5 * time.Second

// sweep is one comparison of all lists with the mirror, from planning to its
// sums. It compares nothing itself: it makes partitions, which any replica takes, and
// looks now and then how far they are.
//
//	lists ──▶ checks ───────────▶ over    a sweep, or one that verifies
//	lists ──▶ checks ──▶ fill ──▶ over    a sweep that fills something
//	lists ─────────────▶ fill ──▶ over    a backfill
//
// It is done if it got all it asked for, and has failed otherwise: its outcome names
// what is missing, and its other findings are valid. Entities that could not be checked
// fail only one that verifies.
//
// Each root kind (accounts, persons …) has a partition that walks its list. That
// partition makes another one for every few hundred ids, which walks what is under
// them. So no process holds all ids, no list is read twice, and the others begin while
// accounts are still being listed. In the end a partition per kind checks by id what no
// list has shown: every entity that was seen has been verified since the sweep began,
// so the mirror itself knows the rest.
type sweep struct {
	*finder
	task  *storage.Task
	mode  mode
	spec  storage.SweepSpec
	state sweepState
	save  saver
}

func newSweep(f *finder, t *storage.Task, save saver) (*sweep, error) {
	spec, err := decodeState[storage.SweepSpec](t.Spec)
	if err != nil {
		return nil, fmt.Errorf("spec of %s %s: %w", t.Kind, t.ID, err)
	}
	state, err := decodeState[sweepState](t.State)
	if err != nil {
		return nil, err
	}
	for _, name := range spec.Kinds {
		if f.def.Kind(name) == nil {
			return nil, fmt.Errorf("provider %s has no kind %q", f.def.Name, name)
		}
	}
	if t.Counts == nil {
		t.Counts = map[string]int64{}
	}
	return &sweep{finder: f, task: t, mode: mode(t.Kind), spec: spec, state: state, save: save}, nil
}

// step does what can be done now and reports whether the sweep is over. If not, the
// holder of the lease calls it again in a moment.
func (s *sweep) step(ctx context.Context) (done bool, err error) {
	if s.state.Phase == "" {
		s.state.Begun = s.now().UTC()
		if err := s.decideFill(ctx); err != nil {
			return false, err
		}
		if err := s.noteBefore(ctx); err != nil {
			return false, err
		}
		// Saved before any partition is made: after a crash the same ones must be made.
		if err := s.enter(ctx, phaseLists); err != nil {
			return false, err
		}
	}
	if s.state.Phase == phaseFill {
		if over, err := s.filled(ctx); err != nil || !over {
			return false, err
		}
		return true, s.finish(ctx)
	}
	if !s.state.Made {
		// After a crash this makes the missing ones and leaves the others as they are.
		if err := s.create(ctx); err != nil {
			return false, err
		}
		s.state.Made = true
		s.task.State = encodeState(s.state)
		if err := s.save(ctx); err != nil {
			return false, err
		}
	}
	open, err := s.open(ctx)
	if err != nil {
		return false, err
	}
	if !open || s.now().Sub(s.state.Summed) >= sumEvery {
		if err := s.sum(ctx); err != nil {
			return false, err
		}
	}
	switch {
	case open:
		return false, nil
	case s.mode == modeBackfill, s.state.Phase == phaseChecks && len(s.state.Fill) > 0:
		return false, s.enter(ctx, phaseFill)
	case s.state.Phase == phaseChecks:
		return true, s.finish(ctx)
	}
	return false, s.enter(ctx, phaseChecks)
}

func (s *sweep) enter(ctx context.Context, p phase) error {
	s.state.Phase, s.state.Made = p, false
	s.task.State = encodeState(s.state)
	return s.save(ctx)
}

// create makes the partitions of the phase.
func (s *sweep) create(ctx context.Context) error {
	spec := partitionSpec{Mode: s.mode, Kinds: s.spec.Kinds, Fill: s.state.Fill, Rate: s.spec.Rate, Begun: s.state.Begun}
	var tasks []*storage.Task
	add := func(name string, spec partitionSpec) {
		tasks = append(tasks, partitionTask(s.task.ID, name, s.name, spec, s.now()))
	}
	switch {
	case s.state.Phase == phaseChecks:
		failed, err := s.failed(ctx)
		if err != nil {
			return err
		}
		for _, k := range s.def.Kinds() {
			if s.wants(k) {
				spec.Check, spec.Failed = k.Name, failed[k.Name]
				add("check/"+k.Name, spec)
			}
		}
	case s.mode == modeBackfill && !s.spec.Since.IsZero():
		spec.Events, spec.Since = true, s.spec.Since
		add("events", spec)
	default:
		look := survey{finder: s.finder, kinds: s.spec.Kinds}
		for _, k := range s.def.Roots() {
			if look.leads(k) {
				spec.Root = k.Name
				add(k.Name, spec)
			}
		}
	}
	return s.persist(ctx, "make partitions", func() error { return s.store.CreateTasks(ctx, tasks) })
}

func (s *sweep) wants(k *provider.Kind) bool {
	return len(s.spec.Kinds) == 0 || slices.Contains(s.spec.Kinds, k.Name)
}

// open reports whether a partition is not over. Only a partition that is not over
// makes others, so if all are over, no further one comes.
func (s *sweep) open(ctx context.Context) (open bool, err error) {
	err = s.persist(ctx, "look at partitions", func() error {
		page, err := s.store.Tasks(ctx, storage.TaskFilter{
			Parent: s.task.ID, Statuses: []storage.TaskStatus{storage.TaskWaiting, storage.TaskRunning}, Limit: 1,
		})
		open = len(page.Items) > 0
		return err
	})
	return open, err
}

// partitions calls f for every partition of the sweep.
func (s *sweep) partitions(ctx context.Context, f func(*storage.Task)) error {
	return eachTask(ctx, s.finder, storage.TaskFilter{Parent: s.task.ID}, f)
}

// eachTask calls do for every task a filter selects.
func eachTask(ctx context.Context, f *finder, filter storage.TaskFilter, do func(*storage.Task)) error {
	filter.Limit = 200
	for {
		var page storage.Page[*storage.Task]
		err := f.persist(ctx, "look at tasks", func() (err error) {
			page, err = f.store.Tasks(ctx, filter)
			return err
		})
		if err != nil {
			return err
		}
		for _, t := range page.Items {
			do(t)
		}
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			return nil
		}
	}
}

// failed returns the lists that could not be read whole, by kind.
func (s *sweep) failed(ctx context.Context) (map[string][]string, error) {
	byKind := map[string][]string{}
	err := s.partitions(ctx, func(t *storage.Task) {
		state, err := decodeState[partitionState](t.State)
		if err != nil {
			return // the sweep cannot repair it
		}
		names := state.Failed
		if t.Status == storage.TaskFailed {
			names = append(names, s.unknown(t)...)
		}
		for _, name := range names {
			kind, _, _ := strings.Cut(name, "|")
			if !slices.Contains(byKind[kind], name) {
				byKind[kind] = append(byKind[kind], name)
			}
		}
	})
	return byKind, err
}

// unknown returns all the lists of a partition that failed: how far it came is not
// known.
func (s *sweep) unknown(t *storage.Task) []string {
	spec, err := decodeState[partitionSpec](t.Spec)
	if err != nil {
		return nil
	}
	all := survey{finder: s.finder, failed: map[string]bool{}}
	if k := s.def.Kind(spec.Root); k != nil {
		all.doubtAll(k)
	}
	if k := s.def.Kind(spec.Under); k != nil {
		all.doubtUnder(k, spec.IDs)
	}
	return all.doubted()
}

// sum adds up the counts of the partitions.
func (s *sweep) sum(ctx context.Context) error {
	counts := map[string]int64{}
	var problems []string
	err := s.partitions(ctx, func(t *storage.Task) {
		counts["partitions"]++
		if t.Status.Final() {
			counts["done"]++
		}
		if t.Status == storage.TaskFailed {
			problems = append(problems, t.ID+": "+t.Error)
		}
		for name, n := range t.Counts {
			counts[name] += n
		}
	})
	if err != nil {
		return err
	}
	s.state.Summed = s.now().UTC()
	s.task.Counts, s.task.State = counts, encodeState(s.state)
	if len(problems) > 0 {
		slices.Sort(problems)
		s.task.Error = fmt.Sprintf("%d partitions failed: %s", len(problems), problems[0])
	}
	return s.save(ctx)
}
