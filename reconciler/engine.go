package reconciler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
)

// engine runs the tasks that look for differences. It gets a task under a lease,
// and save, which stores the task's State, Counts and Error under the lease's
// epoch. save fails once another replica has the lease or the task is cancelled.
// State is always saved such that the next holder repeats little and skips nothing.
type engine struct {
	finders map[string]*finder
	// marks is how long Redis remembers an event's id.
	marks time.Duration
	// alarm raises an alert about a source.
	alarm func(source, reason string)
	// warned holds the warnings of sweeps that were logged already.
	warned sync.Map
}

// saver stores a task under its lease.
type saver func(ctx context.Context) error

func (e *engine) finder(t *storage.Task) (*finder, error) {
	f := e.finders[t.Source]
	if f == nil {
		return nil, fmt.Errorf("task %s: source %q is not configured", t.ID, t.Source)
	}
	return f, nil
}

// gapsID is the id of the standing search for missed events of a source.
func gapsID(source string) string { return "gaps/" + source }

// gaps searches for missed events: repeatedly for the standing task of a source,
// once for a requested one, from the time in its spec.
func (e *engine) gaps(ctx context.Context, t *storage.Task, save saver) error {
	f, err := e.finder(t)
	if err != nil {
		return err
	}
	if !f.def.EventList().Kept {
		return fmt.Errorf("provider %s keeps no events that could be listed", f.def.Name)
	}
	g, err := e.newGaps(f, t, save)
	if err != nil {
		return err
	}
	within := &scopeSearch{engine: e, task: t, own: g}
	if t.ID != gapsID(t.Source) {
		if err := g.once(ctx); err != nil {
			return err
		}
		return within.each(ctx, func(g *gaps) error { return g.once(ctx) })
	}
	var inScopes error // what was wrong in some scope
	for {
		begun := f.now()
		shown, problem := g.attempt(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(problem, errTask) {
			return problem
		}
		if shown == nil {
			shown = inScopes
		}
		if err := g.note(ctx, shown); err != nil {
			return err
		}
		if inScopes, err = within.attempt(ctx); err != nil {
			return err
		}
		f.loop.Waiting("the next search")
		if !loops.Sleep(ctx, g.pause(f.now().Sub(begun), problem)) {
			return ctx.Err()
		}
	}
}

// attempt reads the list once, and says what is wrong: problem is why it could not be
// read, shown what an operator is to see of that or of what was found. A scope that refuses
// us is no problem.
func (g *gaps) attempt(ctx context.Context) (shown, problem error) {
	problem = g.round(ctx)
	if ctx.Err() != nil || errors.Is(problem, errTask) {
		return nil, problem
	}
	if refused, err := g.refusedScope(ctx, g.scope, problem); refused || err != nil {
		return nil, err
	}
	switch {
	case errors.Is(problem, errCut):
		g.log.Info("the list of events is longer than one reading may be; the next reading continues", "source", g.name, "scope", g.scope, "mark", g.state.Mark)
		return nil, problem
	case problem != nil:
		g.log.Warn("the search for missed events failed; it is tried again", "source", g.name, "scope", g.scope, "error", problem)
		g.failing(problem)
		return problem, problem
	}
	return g.wrong(), nil
}

// errTask marks an error of saving a task: this replica does not have it any more.
var errTask = errors.New("the task could not be saved")

func (e *engine) newGaps(f *finder, t *storage.Task, save saver) (*gaps, error) {
	state, err := decodeState[gapState](t.State)
	if err != nil {
		return nil, err
	}
	spec, err := decodeState[storage.SweepSpec](t.Spec)
	if err != nil {
		return nil, fmt.Errorf("spec of task %s: %w", t.ID, err)
	}
	g := &gaps{
		finder: f, task: t.ID, state: state, counts: map[string]int64{}, marks: e.marks, begun: f.now(),
		alarm: func(reason string) { e.alarm(f.name, reason) },
	}
	for name, n := range t.Counts {
		g.counts[name] = n
	}
	if t.ID != gapsID(t.Source) {
		g.since, g.finder = spec.Since, f.limited(t.ID, spec.Rate)
	}
	g.note = func(ctx context.Context, problem error) error {
		g.counts["api_calls"] += g.calls
		g.calls = 0
		t.State, t.Counts, t.Error = encodeState(g.state), g.counts, ""
		if problem != nil {
			t.Error = problem.Error()
		}
		if err := save(ctx); err != nil {
			return fmt.Errorf("%w: %w", errTask, err)
		}
		return nil
	}
	g.sweep = func(ctx context.Context, slot string) (string, error) {
		id := "sweep_" + f.name + "_horizon_" + slot
		sweep := sweepTask(id, modeSweep, f.name, t.ID, storage.SweepSpec{}, f.now())
		return id, f.persist(ctx, "start a sweep", func() error { return f.store.CreateTasks(ctx, []*storage.Task{sweep}) })
	}
	return g, nil
}

// once reads the list one time and saves the result.
func (g *gaps) once(ctx context.Context) error {
	for {
		err := g.round(ctx)
		if errors.Is(err, errCut) || errors.Is(err, errUnordered) {
			if err := g.note(ctx, nil); err != nil {
				return err
			}
			continue
		}
		if refused, asking := g.refusedScope(ctx, g.scope, err); refused || asking != nil {
			return asking
		}
		if err != nil {
			return err
		}
		if err := g.note(ctx, g.wrong()); err != nil || !g.state.Check {
			return err
		}
	}
}

// sweep advances a sweep, backfill or verification as far as is possible now and
// reports whether it is over. If not, the caller calls it again in a moment. It
// never waits for its partitions, so it takes no place they could run in.
func (e *engine) sweep(ctx context.Context, t *storage.Task, save saver) (done bool, err error) {
	f, err := e.finder(t)
	if err != nil {
		return false, err
	}
	s, err := newSweep(f, t, save)
	if err != nil {
		return false, err
	}
	done, err = s.step(ctx)
	if done && err == nil {
		e.warn(f, t)
	}
	return done, err
}

// warn logs the warnings of a sweep that is over, each once in the life of the process.
func (e *engine) warn(f *finder, t *storage.Task) {
	for _, w := range t.Warnings() {
		if _, known := e.warned.LoadOrStore(f.name+"\x00"+w, true); !known {
			f.log.Warn(w, "source", f.name, "sweep", t.ID)
		}
	}
}

// partition runs one partition of a sweep, or what is left of it.
func (e *engine) partition(ctx context.Context, t *storage.Task, save saver) error {
	f, err := e.finder(t)
	if err != nil {
		return err
	}
	p, err := newPartition(f, t, save)
	if err != nil {
		return err
	}
	return p.run(ctx)
}

// sweepTask makes a task that compares with the provider.
func sweepTask(id string, m mode, source, by string, spec storage.SweepSpec, now time.Time) *storage.Task {
	text, _ := json.Marshal(spec) // plain fields always encode
	return &storage.Task{
		ID: id, Kind: string(m), Source: source, Status: storage.TaskWaiting, By: by, Spec: text, CreatedAt: now.UTC(),
	}
}
