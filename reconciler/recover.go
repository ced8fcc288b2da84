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
	// recoverPage is how many rows of the log are looked at at once.
	recoverPage = 500
	// lossCheck is how often Redis is asked whether it has lost anything.
	lossCheck = 2 * time.Second
	// heldBack is how long before a loss a signal may have been appended that
	// was still held back then: longer than any kind's refresh or second look.
	heldBack = 15 * time.Minute
)

// recoverState is what recovery knows from before.
type recoverState struct {
	// Generations are those of the shards when nothing was lost.
	Generations []string `json:"generations,omitempty"`
}

// recovery puts back what Redis has lost of a source.
//
// The log knows which events are not settled, and Redis, asked with one script
// for each, whether an entry stands for the work or its entity is parked. What
// is neither is appended anew. Which entry stands for a further entity of an
// event the log does not know until it has failed: it is looked for in its
// stream, once, and noted. That is done every minute for what has been in
// the log for a minute: Redis may lose the last second in a crash, a failover
// or a restore without anybody's noticing.
//
// When Redis has lost all of a shard (its generation is another), nothing waits
// for the minute. Then signals that had no row in the log are lost too. Derived
// kinds are refreshed and second looks taken for all events of the last while;
// what sweeps had signalled the next sweep finds again, and events that were
// accepted and not yet logged are found by the search for missed ones.
//
// Oldest rows go first, and a shard's signals are appended in the order given,
// so the work of an entity is taken up in the order it came.
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
	// Noted when all is put back: one who dies before leaves it to the next.
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

// afterLoss puts back everything, without waiting. Looking again at what events
// were about may take minutes when there were many; what workers had read just
// before the loss and logged just after is put back meanwhile, as always.
func (c *recovery) afterLoss(ctx context.Context, now time.Time, every, after time.Duration) error {
	c.log.Error("redis has lost what was queued; it is appended anew from the log", "source", c.name)
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
	c.log.Warn("what redis had lost is appended anew", "source", c.name, "signals", c.lost, "looks", n)
	return nil
}

func (c *recovery) count(name string, n int64) {
	if c.w.task.Counts == nil {
		c.w.task.Counts = map[string]int64{}
	}
	c.w.task.Counts[name] += n
}

// round looks at every unsettled row received before a time. Unless it is
// urgent, Redis gets four times as long a rest after every page as that took:
// when a source has been down for hours there are many rows, and nothing is
// lost.
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

// putBack appends what was lost of some rows' work, and notes which entries
// stand for it from now on.
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
	return c.persist(ctx, "note what stands for lost work", func() error { return c.store.Requeued(ctx, again) })
}

// lostWork is the work of an event on an entity, as a further entity of the
// event would have it. The row has the payload.
func lostWork(row *storage.EventRow, o storage.Outcome) stream.Lost {
	return stream.Lost{Known: o.Signal.ID, Since: row.ReceivedAt, Signal: event.Signal{
		Ref: o.Ref, Cause: event.CauseEvent, CauseID: row.ID, EventType: row.Type, CreatedAt: event.OrderTime(row.CreatedAt, row.ReceivedAt), Class: event.Live,
	}}
}

// refreshes are the signals for the derived kinds an event makes stale, as the
// worker appends them with it: held back, so that many events make one.
func (c *recovery) refreshes(row *storage.EventRow) []stream.Draft {
	e, err := c.def.Stored(c.name, row.ID, row.Payload, row.ReceivedAt)
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

// lookAgain has fetched what signals without a row may have been about: derived
// kinds, and entities that were to be looked at twice. It goes through the
// events received since a time, and says how many signals it appended. between
// is called after each page.
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

// secondLooks are the signals for entities of an event whose state proves
// nothing about it, as the worker appends them after a fetch that may have been
// too early.
func (c *recovery) secondLooks(row *storage.EventRow) []stream.Draft {
	var out []stream.Draft
	for _, o := range row.Entities {
		if k := c.def.Kind(o.Ref.Key.Kind); k != nil && k.VerifyAfter > 0 {
			out = append(out, c.later(o.Ref, event.CauseVerify, row.ID, k.VerifyAfter))
		}
	}
	return out
}

// later is a signal that is held back for a while, and keeps out others like
// it.
func (c *recovery) later(ref event.Ref, cause event.Cause, id string, held time.Duration) stream.Draft {
	return stream.Draft{
		Signal: event.Signal{Ref: ref, Cause: cause, CauseID: id, Class: event.Reconcile, NotBefore: c.now().Add(held)},
		Once:   10*held + time.Minute,
	}
}
