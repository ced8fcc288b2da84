package reconciler

import (
	"context"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

const (
	// recoverPage is how many rows of the log are read at once.
	recoverPage = 500
	// lossCheck is how often Redis is asked whether it has lost anything.
	lossCheck = 2 * time.Second
	// heldBack is how long before a loss a signal may have been appended that was
	// still delayed at the loss: longer than any kind's refresh or second look.
	heldBack = 15 * time.Minute
)

// recoverState is the saved state of recovery.
type recoverState struct {
	// Generations are those of the shards when nothing was lost.
	Generations []string `json:"generations,omitempty"`
}

// recovery puts back what Redis has lost of a source.
//
// The log has the events that are not settled. A script asks Redis, for each of
// their entities, whether an entry carries the work or the entity is parked.
// If neither, the work is appended again. For a further entity of an event the log
// does not have the entry's id until it has failed once, so the entry is looked for
// in its stream, once, and its id is noted. This runs every minute for events that
// have been in the log for a minute: Redis may silently lose the last second in a
// crash, a failover or a restore.
//
// When Redis has lost a whole shard, the shard's generation differs, and recovery does
// not wait for the minute. Signals without a row in the log are lost then too.
// Recovery refreshes derived kinds and takes second looks for all events of the last
// 15 minutes. The next sweep finds again what sweeps had signalled, and the search for
// missed events finds those that were accepted and not yet logged.
//
// The oldest rows go first, and a shard's signals are appended in the order given, so
// the work of an entity resumes in the order it came.
type recovery struct {
	*finder
	w     *work
	state recoverState
	lost  int64
}

// recover runs recovery for ever.
func (r *Reconciler) recover(ctx context.Context, w *work) error {
	s := r.source(w.task.Source)
	state, err := decodeState[recoverState](w.task.State)
	if err != nil {
		return err
	}
	c := &recovery{finder: r.finder(s, w.loop), w: w, state: state}
	settings := s.Settings.Recover
	var last time.Time
	for ctx.Err() == nil {
		c.loop.Turn()
		if !fault.Off("recover") {
			if err := c.lossOrTime(ctx, settings.Every, settings.After, &last); err != nil {
				return err
			}
		}
		loops.Sleep(ctx, min(lossCheck, settings.Every))
	}
	return ctx.Err()
}

// lossOrTime recovers if something was lost or it is time again.
func (c *recovery) lossOrTime(ctx context.Context, every, after time.Duration, last *time.Time) error {
	loss, generations, err := c.loss(ctx)
	if err != nil {
		return err
	}
	now := c.now()
	if loss {
		if err := c.afterLoss(ctx, now, every, after); err != nil {
			return err
		}
	} else if now.Sub(*last) >= every {
		if err := c.round(ctx, now.Add(-after), false); err != nil {
			return err
		}
	} else {
		return nil
	}
	*last = now
	// Saved when all is put back: if this replica dies before, the next one does it.
	c.state.Generations = generations
	c.w.task.State = encodeState(c.state)
	c.count("appended", c.lost)
	c.lost = 0
	return c.w.save(ctx)
}

// loss reports whether Redis has lost a shard since that was last noted.
func (c *recovery) loss(ctx context.Context) (lost bool, generations []string, err error) {
	err = c.insist(ctx, "ask redis for the generations of its shards", func() (err error) {
		generations, err = c.streams.Generations(ctx)
		return err
	})
	known := c.state.Generations
	return len(known) > 0 && !slices.Equal(known, generations), generations, err
}

// afterLoss puts back everything, without waiting. Looking again at the entities of
// events may take minutes when there are many. The regular rounds continue meanwhile,
// and put back what workers read just before the loss and logged just after it.
func (c *recovery) afterLoss(ctx context.Context, now time.Time, every, after time.Duration) error {
	c.log.Error("redis has lost queued work; it is appended again from the log", "source", c.name)
	c.count("losses", 1)
	if err := c.round(ctx, now, true); err != nil {
		return err
	}
	last := now
	n, err := c.lookAgain(ctx, now.Add(-heldBack), func() error {
		if c.now().Sub(last) < every {
			return nil
		}
		last = c.now()
		return c.round(ctx, last.Add(-after), false)
	})
	if err != nil {
		return err
	}
	c.log.Warn("the work that redis lost is appended again", "source", c.name, "signals", c.lost, "looks", n)
	return nil
}

func (c *recovery) count(name string, n int64) {
	if c.w.task.Counts == nil {
		c.w.task.Counts = map[string]int64{}
	}
	c.w.task.Counts[name] += n
}

// round checks every unsettled row received before a time. Unless it is urgent, it
// pauses after each page for four times as long as the page took, a second at most:
// when a source has been down for hours there are many rows, and nothing is lost.
func (c *recovery) round(ctx context.Context, before time.Time, urgent bool) error {
	for cursor := ""; ; {
		var rows []*storage.EventRow
		var next string
		err := c.persist(ctx, "look for unsettled events", func() (err error) {
			rows, next, err = c.store.Unsettled(ctx, c.name, before, recoverPage, cursor)
			return err
		})
		if err != nil {
			return err
		}
		c.loop.Turn()
		begun := time.Now()
		if err := c.putBack(ctx, rows); err != nil {
			return err
		}
		if cursor = next; cursor == "" {
			return nil
		}
		if !urgent {
			loops.Sleep(ctx, min(4*time.Since(begun), time.Second))
		}
	}
}

// putBack appends the lost work of some rows, and notes the entries that carry it
// from now on.
func (c *recovery) putBack(ctx context.Context, rows []*storage.EventRow) error {
	var lost []stream.Lost
	var of []*storage.EventRow
	for _, row := range rows {
		for _, o := range row.Entities {
			if !o.Status.Final() {
				lost, of = append(lost, lostWork(row, o)), append(of, row)
			}
		}
	}
	if len(lost) == 0 {
		return nil
	}
	var found []stream.Recovered
	err := c.insist(ctx, "append lost signals", func() (err error) {
		found, err = c.streams.Recover(ctx, lost)
		return err
	})
	if err != nil {
		return err
	}
	var again []storage.Requeue
	before := c.lost
	derived := map[*storage.EventRow]bool{}
	var drafts []stream.Draft
	for i, f := range found {
		if f.State == stream.RecoverParked || f.ID == lost[i].Known {
			continue
		}
		again = append(again, storage.Requeue{
			Source: c.name, EventID: of[i].ID, Entity: lost[i].Signal.Ref.Key, Signal: storage.SignalID{Shard: f.Shard, ID: f.ID},
		})
		if f.State != stream.RecoverAppended {
			continue
		}
		c.lost++
		if !derived[of[i]] {
			derived[of[i]] = true
			drafts = append(drafts, c.refreshes(of[i])...)
		}
	}
	if len(again) == 0 {
		return nil
	}
	c.metrics.Recovered.WithLabelValues(c.name).Add(float64(c.lost - before))
	if err := c.append(ctx, drafts); err != nil {
		return err
	}
	return c.persist(ctx, "note the entries of lost work", func() error { return c.store.Requeued(ctx, again) })
}

// lostWork is the work of an event on an entity, without the payload, which the row
// has.
func lostWork(row *storage.EventRow, o storage.Outcome) stream.Lost {
	return stream.Lost{Known: o.Signal.ID, Since: row.ReceivedAt, Signal: event.Signal{
		Ref: o.Ref, Cause: event.CauseEvent, CauseID: row.ID, EventType: row.Type, CreatedAt: event.OrderTime(row.CreatedAt, row.ReceivedAt), Class: event.Live,
	}}
}

// refreshes returns the signals for the derived kinds that an event makes stale, as
// the worker appends them: delayed, so that many events make one.
func (c *recovery) refreshes(row *storage.EventRow) []stream.Draft {
	e, err := c.def.Stored(row.Kept())
	if err != nil {
		return nil // it names what its row says, and nothing derived
	}
	var out []stream.Draft
	for _, ref := range e.Derived {
		if k := c.def.Kind(ref.Key.Kind); k != nil {
			out = append(out, c.later(ref, event.CauseDerived, row.ID, k.Every))
		}
	}
	return out
}

// lookAgain appends the signals that may be lost without a row in the log: refreshes
// of derived kinds, and second looks. It goes through the events received since a
// time, calls between after each page, and returns how many signals it appended.
func (c *recovery) lookAgain(ctx context.Context, since time.Time, between func() error) (n int, err error) {
	seen := map[event.Key]bool{}
	f := storage.EventFilter{Source: c.name, From: since, Limit: 200}
	for {
		var page storage.Page[*storage.EventRow]
		err := c.persist(ctx, "read the events of the last while", func() (err error) {
			page, err = c.store.Events(ctx, f)
			return err
		})
		if err != nil {
			return n, err
		}
		c.loop.Turn()
		var drafts []stream.Draft
		for _, row := range page.Items {
			for _, d := range append(c.refreshes(row), c.secondLooks(row)...) {
				if k := d.Signal.Ref.Key; !seen[k] {
					seen[k] = true
					drafts = append(drafts, d)
				}
			}
		}
		if err := c.append(ctx, drafts); err != nil {
			return n, err
		}
		n += len(drafts)
		if err := between(); err != nil {
			return n, err
		}
		if f.Cursor = page.NextCursor; f.Cursor == "" {
			return n, nil
		}
	}
}

// repeatLook is the delay of the second look at an entity whose history may be from
// before its event. The worker uses the same.
const repeatLook = 5 * time.Second

// secondLooks returns the signals for entities of an event whose state does not show
// whether it includes the event, or did not when it was fetched, as the worker appends
// them after a fetch that may have been too early.
func (c *recovery) secondLooks(row *storage.EventRow) []stream.Draft {
	var out []stream.Draft
	for _, o := range row.Entities {
		k := c.def.Kind(o.Ref.Key.Kind)
		switch {
		case k == nil:
		case k.VerifyAfter > 0:
			out = append(out, c.later(o.Ref, event.CauseVerify, row.ID, k.VerifyAfter))
		case row.Lagging, o.CoveredBy != nil && o.CoveredBy.FetchedAt.Sub(row.CreatedAt) < k.ReadLag:
			out = append(out, c.later(o.Ref, event.CauseVerify, row.ID, repeatLook))
		}
	}
	return out
}

// later returns a delayed signal that suppresses others like it.
func (c *recovery) later(ref event.Ref, cause event.Cause, id string, held time.Duration) stream.Draft {
	return stream.Draft{
		Signal: event.Signal{Ref: ref, Cause: cause, CauseID: id, Class: event.Reconcile, NotBefore: c.now().Add(held)},
		Once:   10*held + time.Minute,
	}
}
