package reconciler

import (
	"context"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

const (
	// remembered is how long finished tasks are kept for operators to read.
	remembered = 7 * 24 * time.Hour
	// forgetEvery is how often older ones are removed.
	forgetEvery = time.Hour
	// longestLook bounds the pause between two looks at the schedule.
	longestLook = 10 * time.Second
)

// schedule starts sweeps when they are due. Every replica does so without a lease:
// the id of a sweep is made of its source and the time it was due, so starting it
// twice changes nothing.
func (r *Reconciler) schedule(ctx context.Context, l *telemetry.Loop) error {
	f := r.waiting(l)
	started := map[string]time.Time{} // by source, the last due time this process has handled
	var forgot time.Time
	for ctx.Err() == nil {
		l.Turn()
		pause := longestLook
		for _, s := range r.sources {
			every := s.Settings.Sweep.Every
			if every <= 0 {
				continue
			}
			pause = min(pause, every/10)
			if due := sweepDue(s.Name, every, r.Now()); !started[s.Name].Equal(due) {
				if err := r.startSweep(ctx, f, s, due); err != nil {
					return err
				}
				started[s.Name] = due
			}
		}
		if r.Now().Sub(forgot) >= forgetEvery {
			if err := f.persist(ctx, "forget old tasks", func() error {
				_, err := r.Store.ForgetTasks(ctx, r.Now().Add(-remembered))
				return err
			}); err != nil {
				return err
			}
			forgot = r.Now()
		}
		l.Waiting("the next sweep")
		loops.Sleep(ctx, max(pause, 100*time.Millisecond))
	}
	return ctx.Err()
}

// sweepDue is when the last sweep of a source was due. It adds up to a tenth of the
// interval, which differs by source and time, so that sources do not sweep all at
// once. Every replica computes the same.
func sweepDue(source string, every time.Duration, now time.Time) time.Time {
	slot := now.Truncate(every)
	if due := slot.Add(jitter(source, slot, every)); !due.After(now) {
		return due
	}
	slot = slot.Add(-every)
	return slot.Add(jitter(source, slot, every))
}

func jitter(source string, slot time.Time, every time.Duration) time.Duration {
	spread := every / 10
	if spread <= 0 {
		return 0
	}
	return time.Duration(xxhash.Sum64String(fmt.Sprintf("%s/%d", source, slot.UnixMilli())) % uint64(spread))
}

// startSweep starts the sweep that was due at a time, unless an earlier one is
// still under way: two would ask the provider for the same.
func (r *Reconciler) startSweep(ctx context.Context, f *finder, s *source, due time.Time) error {
	var open storage.Page[*storage.Task]
	err := f.persist(ctx, "look for sweeps under way", func() (err error) {
		open, err = r.Store.Tasks(ctx, storage.TaskFilter{
			Kinds: []string{kindSweep, kindBackfill}, Source: s.Name, Limit: 1,
			Statuses: []storage.TaskStatus{storage.TaskWaiting, storage.TaskRunning},
		})
		return err
	})
	if err != nil || len(open.Items) > 0 {
		return err
	}
	m, err := firstMode(ctx, r.finder(s, f.loop))
	if err != nil {
		return err
	}
	t := sweepTask(fmt.Sprintf("sweep_%s_%s", s.Name, due.UTC().Format("20060102T150405Z")), m, s.Name, "schedule", storage.SweepSpec{}, r.Now())
	return f.persist(ctx, "start a sweep", func() error { return r.Store.CreateTasks(ctx, []*storage.Task{t}) })
}

// firstMode is the mode of a scheduled sweep: backfill until a sweep or backfill of
// some kind has finished, sweep from then on.
func firstMode(ctx context.Context, f *finder) (mode, error) {
	unswept, err := f.unswept(ctx, f.kinds())
	if err != nil || len(unswept) < len(f.kinds()) {
		return modeSweep, err
	}
	return modeBackfill, nil
}
