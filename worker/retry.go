package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker/entity"
)

const (
	// retriesAtOnce is how many parked entities of a source in a shard may be in
	// lanes. The rest stays in Redis, however many there are.
	retriesAtOnce = 32
	// lowerRetries is how many of these may be for classes below live: they may
	// have to wait long for budget, and live ones behind them would too.
	lowerRetries = retriesAtOnce / 2
	// lowerAgain is how long one beyond these waits.
	lowerAgain = time.Second
	// dueSoon is how long until a shard asks for due entities again while there are
	// more than may be in lanes, dueFailed until it does after a failure.
	dueSoon   = 100 * time.Millisecond
	dueFailed = time.Second
)

// due starts retries of parked entities whose time has come. It holds the gate:
// else an entity that is parked again meanwhile would be tried at once.
func (r *intake) due() {
	now := time.Now()
	var asked []stream.DueOf
	for _, name := range r.w.names {
		src := r.w.sources[name]
		if src.paused() || now.Before(r.askDueAt(name)) {
			continue
		}
		all, _ := r.retries(src)
		room := retriesAtOnce - all
		if room <= 0 {
			r.dueHeld[name] = now.Add(dueSoon)
			continue
		}
		asked = append(asked, stream.DueOf{Source: name, Most: room})
	}
	if len(asked) == 0 {
		return
	}
	r.enter()
	defer r.leave()
	found, err := r.lease.Due(r.ctx, asked...)
	if err != nil {
		for _, a := range asked {
			r.holdDue(a.Source, dueFailed)
		}
		sayDue(r, "could not look for parked entities that are due; trying again", asked[0].Source, err)
		return
	}
	for i, d := range found {
		if d.Err != nil {
			r.holdDue(d.Source, dueFailed)
			sayDue(r, "could not look for parked entities that are due; trying again", d.Source, d.Err)
			continue
		}
		if len(d.Keys)+len(d.Unreadable) == asked[i].Most {
			r.holdDue(d.Source, dueSoon) // there may be more
		}
		r.beginRetries(r.w.sources[d.Source], d)
	}
}

// askDueAt returns when to ask for the due entities of a source again.
func (r *intake) askDueAt(source string) time.Time {
	at := r.lease.NextDue(source)
	if held := r.dueHeld[source]; at.Before(held) {
		return held
	}
	return at
}

// holdDue has due entities of a source asked for again after a time.
func (r *intake) holdDue(source string, d time.Duration) {
	r.dueHeld[source] = time.Now().Add(d)
	r.lease.Overdue(source)
}

// beginRetries begins the retries of entities of a source that are due. What fails is
// tried again after a while.
func (r *intake) beginRetries(src *source, d stream.Due) {
	if len(d.Unreadable) > 0 {
		if err := r.parked.discardEntities(r.loop, src, d.Unreadable); err != nil {
			r.holdDue(src.Name, dueFailed)
			sayDue(r, "could not remove parked entities whose names cannot be read; trying again", src.Name, err)
		}
	}
	for _, k := range d.Keys {
		err := r.beginRetry(src, k)
		if err == nil && r.isClosing() { // others may have been given back already
			err = r.lease.Defer(r.ctx, k, 0)
		}
		if err == nil {
			continue
		}
		r.holdDue(src.Name, dueFailed)
		sayDue(r, "could not begin a retry; trying again", k.String(), err)
		if class, _ := fate.Of(err); !stream.Replied(err) && class != fate.Permanent {
			break // Redis is away; any other error concerns this entity alone
		}
	}
}

// sayDue logs what kept due entities from being tried, unless it is that the
// shard is no longer ours.
func sayDue(r *intake, what, of string, err error) {
	if !r.lost(err) && r.ctx.Err() == nil {
		r.common.Info(what, "of", of, "error", err)
	}
}

// beginRetry makes a lane for a due entity, unless it has one. For the time of
// a lease the entity is not due again: should this worker die, its successor
// begins the retry again. While the lane lives, the due time is deferred again.
//
// An entity for which nothing waits, since Redis lost it or it cannot be read, is
// un-parked.
func (r *intake) beginRetry(src *source, k event.Key) error {
	wait, undefined := deferFor(src, k)
	if err := r.lease.Defer(r.ctx, k, wait); err != nil || undefined || r.hasLane(k) {
		return err
	}
	p, waiting, _, err := r.parked.page(r.ctx, r.loop, k, 0, entity.PageSize)
	if err != nil {
		return err
	}
	if p.Len == 0 {
		return r.lease.Discard(r.ctx, k, nil)
	}
	if _, lower := r.retries(src); lower >= lowerRetries && event.HighestClass(waiting) > event.Live {
		return r.lease.Defer(r.ctx, k, lowerAgain)
	}
	r.step(entity.Due{Key: k, Failed: !p.Spilled, First: waiting})
	return nil
}
