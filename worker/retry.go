package worker

import (
	"errors"
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
	// dueEvery is how often a shard asks for due entities at the least, dueSoon
	// how long until it does while there are more than may be in lanes.
	dueEvery = time.Second
	dueSoon  = 100 * time.Millisecond
)

// due starts retries of parked entities whose time has come. It holds the gate:
// else an entity that is parked again meanwhile would be tried at once.
func (r *intake) due(src *source) {
	now := time.Now()
	if now.Before(r.dueAt[src.Name]) {
		return
	}
	all, _ := r.retries(src)
	room := retriesAtOnce - all
	if room <= 0 {
		r.dueAt[src.Name] = now.Add(dueSoon)
		return
	}
	r.enter()
	defer r.leave()
	keys, next, err := r.lease.Due(r.ctx, src.Name, room)
	named := len(keys)
	var strange *stream.UnreadableError
	if errors.As(err, &strange) {
		named += len(strange.Entities)
		if err = r.parked.discardEntities(r.loop, src, strange.Entities); err != nil {
			r.warnDue("could not remove parked entities whose names cannot be read; trying again", src.Name, err)
		}
	} else if err != nil {
		r.warnDue("could not look for parked entities that are due; trying again", src.Name, err)
	}
	for _, k := range keys {
		err := r.beginRetry(src, k)
		if err == nil && r.isClosing() { // others may have been given back already
			err = r.lease.Defer(r.ctx, k, 0)
		}
		if err == nil {
			continue
		}
		r.warnDue("could not begin a retry; trying again", k.String(), err)
		if class, _ := fate.Of(err); !stream.Replied(err) && class != fate.Permanent {
			break // Redis is away; any other error concerns this entity alone
		}
	}
	wait := dueEvery
	if next > 0 {
		wait = min(wait, next)
	}
	if named == room {
		wait = dueSoon // there may be more
	}
	r.dueAt[src.Name] = now.Add(max(wait, time.Millisecond))
}

// warnDue logs what kept due entities from being tried, unless it is that the
// shard is no longer ours.
func (r *intake) warnDue(what, of string, err error) {
	if !r.lost(err) && r.ctx.Err() == nil {
		r.log.Warn(what, "of", of, "error", err)
	}
}

// beginRetry makes a lane for a due entity, unless it has one. For the time of
// a lease the entity is not due again: should this worker die, its successor
// begins the retry again. While the lane lives, the due time is deferred again.
//
// An entity for which nothing waits, since Redis lost it or it cannot be read, is
// un-parked.
func (r *intake) beginRetry(src *source, k event.Key) error {
	wait, undefined := src.deferFor(k)
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
		return r.lease.Defer(r.ctx, k, dueEvery)
	}
	r.step(entity.Due{Key: k, Failed: !p.Spilled, First: waiting})
	return nil
}
