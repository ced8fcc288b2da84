package reconciler

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
)

// phase is how far a sweep is.
type phase string

const (
	// phaseLists: partitions walk the lists.
	phaseLists phase = "lists"
	// phaseChecks: partitions check by id what no list showed.
	phaseChecks phase = "checks"
	// phaseFill: workers fetch what a backfill has asked for.
	phaseFill phase = "fill"
)

// sweepState is how far a sweep has come.
type sweepState struct {
	Phase phase     `json:"phase,omitempty"`
	Begun time.Time `json:"begun,omitzero"`
	// Fill are the kinds of a sweep of which none has been finished before.
	Fill []string `json:"fill,omitempty"`
	// Made: the partitions of the phase are there.
	Made bool `json:"made,omitempty"`
	// Summed is when what the partitions have counted was last added up. The
	// task's own time says nothing of that: it moves at each visit.
	Summed time.Time `json:"summed,omitzero"`
	// Filling is since when workers fetch what a backfill has asked for, by Redis'
	// clock, as the ages of its signals are: all of them are older.
	Filling time.Time `json:"filling,omitzero"`
	// Backlog is the least background backlog seen since then, Oldest when the
	// oldest of it was appended, BacklogSince since when neither has moved.
	Backlog      int64     `json:"backlog,omitempty"`
	Oldest       time.Time `json:"oldest,omitzero"`
	BacklogSince time.Time `json:"backlog_since,omitzero"`
	// Unfetched is the least number of entities seen in the end that workers have
	// asked for and not had, UnfetchedSince since when it is looked at.
	Unfetched      int64     `json:"unfetched,omitempty"`
	UnfetchedSince time.Time `json:"unfetched_since,omitzero"`
}

// settles is how many times the patience with what is under way a backfill waits
// for fetches that others began.
const settles = 30

// stalledAfter is how long a backfill waits for workers that get nothing done
// before it leaves them to it: its signals are safe in their streams.
const stalledAfter = 2 * time.Minute

// sumEvery is how often what the partitions have counted is added up while they
// are at work.
const sumEvery = 5 * time.Second

// sweep is one comparison of all lists with the mirror, from planning to its
// sums. It does no comparing itself: it makes partitions, which whoever is free
// takes over, and looks now and then how far they are.
//
//	lists ──▶ checks ──▶ done        a sweep, or one that verifies
//	lists ──▶ fill ────▶ done        a backfill
//
// A partition per kind that stands under nothing (accounts, persons …) walks
// the list of that kind and makes a partition of every few hundred of its
// entities for what stands under them. So nobody ever holds all ids, no list is
// read twice, and the others begin while accounts are still being listed. What
// no list has shown is checked by id in the end, by a partition per kind:
// whatever was seen has been verified since the sweep began, so the mirror
// itself knows the rest.
type sweep struct {
	*finder
	task  *mirror.Task
	mode  mode
	spec  mirror.SweepSpec
	state sweepState
	save  saver
}

func newSweep(f *finder, t *mirror.Task, save saver) (*sweep, error) {
	spec, err := decodeState[mirror.SweepSpec](t.Spec)
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
	return &sweep{finder: f, task: t, mode: mode(t.Kind), spec: spec, state: state, save: save}, nil
}

// step does what can be done now and reports whether the sweep is over; if not,
// it is to be called again in a moment, by whoever has the lease then.
func (s *sweep) step(ctx context.Context) (done bool, err error) {
	if s.state.Phase == "" {
		s.state.Begun = s.now().UTC()
		if err := s.fills(ctx); err != nil {
			return false, err
		}
		// Saved before anything is made: made again, it must be the same.
		if err := s.enter(ctx, phaseLists); err != nil {
			return false, err
		}
	}
	if s.state.Phase == phaseFill {
		if done, err := s.filled(ctx); err != nil || !done {
			return false, err
		}
		return true, s.finished(ctx)
	}
	if !s.state.Made {
		// Made again after a crash they are left as they are, so none is left out.
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
	case s.state.Phase == phaseChecks:
		return true, s.finished(ctx)
	case s.mode == modeBackfill:
		return false, s.enter(ctx, phaseFill)
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
	var tasks []*mirror.Task
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

// open reports whether a partition is left that is not over. A partition is
// made by one that is not over itself, so if none is left, none will be.
func (s *sweep) open(ctx context.Context) (open bool, err error) {
	err = s.persist(ctx, "look at partitions", func() error {
		page, err := s.store.Tasks(ctx, mirror.TaskFilter{
			Parent: s.task.ID, Statuses: []mirror.TaskStatus{mirror.TaskWaiting, mirror.TaskRunning}, Limit: 1,
		})
		open = len(page.Items) > 0
		return err
	})
	return open, err
}

// partitions calls f for every partition of the sweep.
func (s *sweep) partitions(ctx context.Context, f func(*mirror.Task)) error {
	return eachTask(ctx, s.finder, mirror.TaskFilter{Parent: s.task.ID}, f)
}

// eachTask calls do for every task a filter selects.
func eachTask(ctx context.Context, f *finder, filter mirror.TaskFilter, do func(*mirror.Task)) error {
	filter.Limit = 200
	for {
		var page mirror.Page[*mirror.Task]
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

// failed are the lists that did not come whole, by kind.
func (s *sweep) failed(ctx context.Context) (map[string][]string, error) {
	byKind := map[string][]string{}
	err := s.partitions(ctx, func(t *mirror.Task) {
		state, err := decodeState[partitionState](t.State)
		if err != nil {
			return // nothing a sweep could do about it
		}
		names := state.Failed
		if t.Status == mirror.TaskFailed {
			// Nobody knows how far it came.
			spec, err := decodeState[partitionSpec](t.Spec)
			if k := s.def.Kind(spec.Root + spec.Under); err == nil && k != nil {
				all := survey{finder: s.finder, failed: map[string]bool{}}
				all.doubtAll(k)
				names = append(names, slices.Collect(maps.Keys(all.failed))...)
			}
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

// sum adds up what the partitions have counted.
func (s *sweep) sum(ctx context.Context) error {
	counts := map[string]int64{}
	var problems []string
	err := s.partitions(ctx, func(t *mirror.Task) {
		counts["partitions"]++
		if t.Status.Final() {
			counts["done"]++
		}
		if t.Status == mirror.TaskFailed {
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

// filled reports whether the workers have fetched what a backfill asked for:
// nothing waits in the background that is as old as its signals. Something
// younger nearly always does, such as refreshes that are held back.
func (s *sweep) filled(ctx context.Context) (bool, error) {
	now := s.now().UTC()
	redisNow, err := s.streams.Now(ctx)
	if err != nil {
		return false, nil // redis is away: ask again
	}
	if s.state.Filling.IsZero() {
		s.state.Filling, s.state.BacklogSince, s.state.Backlog = redisNow, now, math.MaxInt64
		return false, s.enter(ctx, phaseFill)
	}
	n, age, err := s.background(ctx)
	switch oldest := redisNow.Add(-age); {
	case err != nil:
		return false, nil
	case n == 0 || age < redisNow.Sub(s.state.Filling):
		return s.fetched(ctx)
	case n < s.state.Backlog || oldest.Sub(s.state.Oldest).Abs() > time.Second:
		s.state.Backlog, s.state.Oldest, s.state.BacklogSince = min(n, s.state.Backlog), oldest, now
		return false, s.enter(ctx, phaseFill)
	case s.paused(ctx):
		// Nobody fetches, and it is known why: that is no standstill.
		s.state.BacklogSince = now
		return false, s.enter(ctx, phaseFill)
	case now.Sub(s.state.BacklogSince) < stalledAfter:
		return false, nil
	}
	s.problem(fmt.Sprintf("%d signals still wait in the background streams and do not become less; they are safe there: are workers running?", n))
	return true, s.save(ctx)
}

// paused reports whether the source is paused, as far as is known.
func (s *sweep) paused(ctx context.Context) bool {
	state, err := s.streams.Source(ctx, s.name)
	return err != nil || state.Paused
}

// fetched ends a backfill, and says what of its kinds the mirror does not have
// although workers were asked for it, by this backfill or before: their signals
// name no event, so what could not be had is in no dead letter.
func (s *sweep) fetched(ctx context.Context) (bool, error) {
	var n int64
	err := s.persist(ctx, "count what was not fetched", func() (err error) {
		n, err = s.store.Unfetched(ctx, s.name, s.wanted())
		return err
	})
	if err != nil || n == 0 {
		return err == nil, err
	}
	// Some of it is always under way in a fleet that lives.
	now := s.now().UTC()
	if s.state.UnfetchedSince.IsZero() {
		s.state.Unfetched, s.state.UnfetchedSince = n, now
	}
	if n = min(n, s.state.Unfetched); now.Sub(s.state.UnfetchedSince) < settles*s.pace.patience {
		s.state.Unfetched = n
		return false, s.enter(ctx, phaseFill)
	}
	s.problem(fmt.Sprintf("%d entities were asked for and could not be had so far: they are retried, or workers have logged why they gave up", n))
	return true, s.save(ctx)
}

// problem adds to what has gone wrong.
func (s *sweep) problem(what string) {
	if s.task.Error != "" {
		what = s.task.Error + "; " + what
	}
	s.task.Error = what
}
