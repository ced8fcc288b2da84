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

// engine runs the tasks that look for differences. It is given a task under a
// lease, and save, which stores the task's State, Counts and Error under the
// lease's epoch and fails once somebody else has it or it was cancelled; State
// is always saved such that whoever goes on there repeats little and skips
// nothing.
type engine struct {
	finders map[string]*finder
	// marks is how long Redis remembers an event's id.
	marks time.Duration
	// alarm tells a human about a source.
	alarm func(source, reason string)
	// warned are the warnings of sweeps that are in the log already.
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

// gaps searches for missed events: for ever, if it is the standing task of its
// source, else once, from where its spec says.
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
	if t.ID != gapsID(t.Source) {
		return g.once(ctx)
	}
	for {
		begun := f.now()
		problem := g.round(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(problem, errTask) {
			return problem
		}
		told := problem
		switch {
		case errors.Is(problem, errCut):
			f.log.Info("the list of events is longer than one reading may be; the next goes on", "source", f.name, "mark", g.state.Mark)
			told = nil
		case problem != nil:
			f.log.Warn("the search for missed events failed; it is tried again", "source", f.name, "error", problem)
			g.failing(problem)
		default:
			told = g.wrong()
		}
		if err := g.note(ctx, told); err != nil {
			return err
		}
		f.loop.Waiting("the next search")
		if !loops.Sleep(ctx, g.pause(f.now().Sub(begun), problem)) {
			return ctx.Err()
		}
	}
}

// errTask marks an error of saving a task: the work is not ours any more.
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

// once reads the list one time, and notes what came of it.
func (g *gaps) once(ctx context.Context) error {
	for {
		err := g.round(ctx)
		if errors.Is(err, errCut) || errors.Is(err, errUnordered) {
			if err := g.note(ctx, nil); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := g.note(ctx, g.wrong()); err != nil || !g.state.Check {
			return err
		}
	}
}

// sweep goes on with a sweep, backfill or verification as far as it can be
// gone on with now, and reports whether it is over. It never waits for its
// partitions, so that it keeps nobody from working on them: if it is not over,
// it is to be called again in a moment.
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

// partition does one partition of a sweep, or what is left of it.
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
	text, _ := json.Marshal(spec) // plain fields, which always encode
	return &storage.Task{
		ID: id, Kind: string(m), Source: source, Status: storage.TaskWaiting, By: by, Spec: text, CreatedAt: now.UTC(),
	}
}
