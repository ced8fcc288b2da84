package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// sweeps has two reconcilers make the mirror true while the world goes on, and
// kills one of them in the middle.
func (r *run) sweeps(ctx context.Context) (err error) {
	if r.asked, err = r.Simulator.Requests(ctx); err != nil {
		return err
	}
	// Now webhooks are late and doubled, and all of them come.
	late := simulator.Chaos{
		Duplicate: 0.1, Reorder: 0.3, MaxDelay: simulator.Duration(latest), Latency: simulator.Duration(5 * time.Millisecond),
	}
	if err := r.Simulator.Chaos(ctx, r.odd.Chaos(late)); err != nil {
		return err
	}
	if err := r.live(ctx, r.life); err != nil {
		return err
	}
	if err := r.Simulator.StartLoad(ctx, r.odd.Load(simulator.Load{Entities: r.entities / 10, Events: r.events / 5, Rate: float64(r.events) / 5 / span.Seconds()})); err != nil {
		return err
	}
	r.say("sweeps: two reconcilers start while the world goes on")
	for range 2 {
		if _, err := r.Add(ctx, fleet.Reconciler); err != nil {
			return err
		}
	}
	for _, m := range r.Members(fleet.Reconciler) {
		if err := m.WaitReady(ctx, r.patience(time.Minute)); err != nil {
			return err
		}
	}
	cut, err := r.killOne(ctx)
	if err != nil {
		return err
	}
	if err := r.done(ctx, "the sweep that was cut off", cut); err != nil {
		return err
	}
	if err := r.sent(ctx); err != nil {
		return err
	}
	if err := r.Simulator.Chaos(ctx, late); err != nil {
		return err
	}
	r.say("sweeps: the sweep that was cut off is done, and the world has stopped changing")
	// By hand: the schedule goes by the clock of the wall, which machines that
	// run tests have been seen to set back.
	// The request joins a sweep of the schedule that is under way, which may have begun
	// before that. Then another one is asked for.
	var last struct{ ID, By string }
	for last.ID == "" || last.By == "schedule" {
		if err := r.Operate(ctx, http.MethodPost, "/v1/sweeps", map[string]string{"source": fleet.Source}, &last); err != nil {
			return err
		}
		if err := r.done(ctx, "the sweep begun after that", last.ID); err != nil {
			return err
		}
	}
	return r.settled(ctx)
}

// killOne kills a reconciler when a sweep is in the middle, and returns the id
// of that sweep.
func (r *run) killOne(ctx context.Context) (sweep string, err error) {
	err = fleet.WaitFor(ctx, r.patience(time.Minute), func() string { return "no sweep is in the middle" }, func() (bool, error) {
		running, err := r.tasks(ctx, storage.TaskFilter{Kinds: []string{"sweep"}, Statuses: []storage.TaskStatus{storage.TaskRunning}})
		if err != nil {
			return false, err
		}
		for _, t := range running {
			parts, err := r.tasks(ctx, storage.TaskFilter{Parent: t.ID})
			if err != nil {
				return false, err
			}
			over := len(slices.DeleteFunc(slices.Clone(parts), func(p *storage.Task) bool { return !p.Status.Final() }))
			if over >= 2 && over < len(parts)-2 {
				sweep = t.ID
				one := r.Members(fleet.Reconciler)[r.rng.IntN(2)]
				one.Kill()
				r.say("sweeps: %s is killed with %d of %d partitions of %s done", one.Name, over, len(parts), sweep)
				return true, nil
			}
		}
		return false, r.Died()
	})
	return sweep, err
}

// done waits until a sweep is over.
func (r *run) done(ctx context.Context, which, id string) error {
	return fleet.WaitFor(ctx, r.patience(time.Minute), func() string { return which + " is not done" }, func() (bool, error) {
		t, err := r.Store.Task(ctx, id)
		if err != nil {
			return false, fmt.Errorf("read sweep %s: %w", id, err)
		}
		if t.Status.Final() && t.Status != storage.TaskDone {
			return false, fmt.Errorf("sweep %s is %s: %s", id, t.Status, t.Error)
		}
		return t.Status == storage.TaskDone, r.Died()
	})
}

func (r *run) tasks(ctx context.Context, filter storage.TaskFilter) (all []*storage.Task, err error) {
	for filter.Limit = 200; ; {
		page, err := r.Store.Tasks(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("read the tasks: %w", err)
		}
		all = append(all, page.Items...)
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			return all, nil
		}
	}
}

// settled waits until everything found is judged and its repair has ended, and
// nothing waits that was not held back.
func (r *run) settled(ctx context.Context) error {
	var open, confirmed int
	var one *storage.Discrepancy
	err := fleet.WaitFor(ctx, r.patience(45*time.Second), func() string {
		return fmt.Sprintf("%d findings are not judged, %d confirmed ones not repaired, one of them %+v", open, confirmed, one)
	}, func() (bool, error) {
		found, err := r.found(ctx)
		open, confirmed, one = 0, 0, nil
		for _, d := range found {
			switch d.Status {
			case storage.Suspected:
				open, one = open+1, d
			case storage.Confirmed:
				confirmed, one = confirmed+1, d
			}
		}
		return open+confirmed == 0, err
	})
	if err != nil {
		return err
	}
	if err := r.calm(ctx); err != nil {
		return err
	}
	r.say("sweeps: every finding is judged")
	return nil
}

// found are all discrepancies of the store.
func (r *run) found(ctx context.Context) (all []*storage.Discrepancy, err error) {
	for filter := (storage.DiscrepancyFilter{Limit: 200}); ; {
		page, err := r.Store.Discrepancies(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("read the discrepancies: %w", err)
		}
		all = append(all, page.Items...)
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			return all, nil
		}
	}
}
