package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
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
// else an entity that is parked anew meanwhile would be tried at once.
func (s *shard) due(r *reading, src *source) {
	now := time.Now()
	if now.Before(r.dueAt[src.Name]) {
		return
	}
	all, _ := s.retries(src)
	room := retriesAtOnce - all
	if room <= 0 {
		r.dueAt[src.Name] = now.Add(dueSoon)
		return
	}
	s.enter(r.loop)
	defer s.gate.Unlock()
	keys, next, err := s.lease.Due(s.ctx, src.Name, room)
	named := len(keys)
	var strange *stream.UnreadableError
	if errors.As(err, &strange) {
		named += len(strange.Entities)
		if err = s.discardEntities(r.loop, src, strange.Entities); err != nil {
			s.warnDue("could not remove parked entities whose names cannot be read; trying again", src.Name, err)
		}
	} else if err != nil {
		s.warnDue("could not look for parked entities that are due; trying again", src.Name, err)
	}
	for _, k := range keys {
		err := s.beginRetry(r.loop, src, k)
		if err == nil && s.isClosing() { // and what is not begun may have been given back already
			err = s.lease.Defer(s.ctx, k, 0)
		}
		if err == nil {
			continue
		}
		s.warnDue("could not begin a retry; trying again", k.String(), err)
		if class, _ := fate.Of(err); !stream.Replied(err) && class != fate.Permanent {
			break // Redis is away; else it is this entity's affair
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
func (s *shard) warnDue(what, of string, err error) {
	if !s.lost(err) && s.ctx.Err() == nil {
		s.log.Warn(what, "of", of, "error", err)
	}
}

// beginRetry makes a lane for a due entity, unless it has one. For the time of
// a lease the entity is not due again: should this worker die, its successor
// begins the retry anew; while the lane lives, the time is put off again.
//
// An entity for which nothing waits, since Redis lost it or nobody can read it,
// is not parked any more.
func (s *shard) beginRetry(loop *telemetry.Loop, src *source, k event.Key) error {
	wait, undefined := s.deferFor(src, k)
	if err := s.lease.Defer(s.ctx, k, wait); err != nil || undefined || s.hasLane(k) {
		return err
	}
	p, waiting, _, err := s.parked(s.ctx, loop, k, 0, page)
	if err != nil {
		return err
	}
	if p.Len == 0 {
		return s.lease.Discard(s.ctx, k, nil)
	}
	if _, lower := s.retries(src); lower >= lowerRetries && classOf(waiting) > event.Live {
		return s.lease.Defer(s.ctx, k, dueEvery)
	}
	s.startRetry(src, k, p, waiting)
	return nil
}

// retries counts the lanes of a source's parked entities, all and those of
// classes below live.
func (s *shard) retries(src *source) (all, lower int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retrying = slices.DeleteFunc(s.retrying, func(ln *lane) bool { return !ln.retry || s.lanes[ln.id] != ln })
	for _, ln := range s.retrying {
		if ln.src != src {
			continue
		}
		if all++; ln.class > event.Live {
			lower++
		}
	}
	return all, lower
}

// tried reports whether an entity is parked for what it has been asked and
// answered, not only set aside.
func tried(p stream.Parked) bool { return p.Attempt > 0 || len(p.State) > 0 }

// hasLane reports whether an entity has a lane.
func (s *shard) hasLane(k event.Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes[laneKey{key: k}] != nil
}

// endRetry makes the lane of a parked entity an ordinary one.
func (ln *lane) endRetry() {
	ln.shard.mu.Lock()
	defer ln.shard.mu.Unlock()
	ln.retry, ln.tried = false, false
}

// loadParked takes what waits for the parked entity as the batch: the first
// page of it, the summary of all, and how much there is. What names more parents
// than one sync asks is left for the next.
func (a *attempt) loadParked(ctx context.Context) (err error) {
	kind := a.kind
	a.parked, a.batch, _, err = a.s.parked(ctx, nil, a.ln.key, 0, page)
	taken, more := a.summary.add(kind, a.batch), a.batch
	a.batch = a.batch[:taken]
	for seen := len(more); err == nil && taken == seen && seen < a.parked.Len && len(more) > 0; seen += len(more) {
		var gone int
		_, more, gone, err = a.s.parked(ctx, nil, a.ln.key, seen, min(page, a.parked.Len-seen))
		a.parked.Len -= gone
		taken += a.summary.add(kind, more)
	}
	a.parked.Len = min(a.parked.Len, taken)
	if err != nil {
		return fromRedis(fmt.Errorf("read what is parked for %s: %w", a.ln.key, err))
	}
	if len(a.parked.State) > 0 {
		if err := json.Unmarshal(a.parked.State, &a.state); err != nil {
			// Attempts are lost from the record, nothing else.
			a.s.log.Warn("the state of a parked entity cannot be read; starting over", "entity", a.ln.key.String(), "error", err)
		}
	}
	return nil
}

// coveredParked settles everything that was parked when the claim was taken,
// page by page, and un-parks the entity if nothing has come since.
func (a *attempt) coveredParked(v *verdict) {
	err := a.eachPage(func(entries []stream.Entry) error { return a.settlePage(v, entries) })
	a.afterParked(err)
}

// eachPage calls handle for what was parked at the claim and removes each page
// once handled.
func (a *attempt) eachPage(handle func([]stream.Entry) error) error {
	ctx := a.s.ctx
	entries := a.batch
	for handled := 0; len(entries) > 0; {
		if err := handle(entries); err != nil {
			return err
		}
		left, err := a.unpark(ctx, entries)
		if err != nil {
			return err
		}
		if handled += len(entries); left == 0 || handled >= a.parked.Len {
			return nil
		}
		if _, entries, err = a.s.lease.Parked(ctx, a.ln.key, 0, min(page, a.parked.Len-handled)); err != nil {
			return err
		}
	}
	return nil
}

// settlePage settles one page and waits until the store has it. If the store
// refuses it, the error is errRefused: to wait for longer would keep the sync's
// slot from others.
func (a *attempt) settlePage(v *verdict, entries []stream.Entry) error {
	ended := make(chan error, 1)
	a.traceCovered(entries)
	d := a.settledBy(v, entries)
	d.after = func() { ended <- nil }
	d.refused = func() bool { ended <- errRefused; return false }
	d.alerted = a.state.Refused > 0
	a.s.w.settler.add(d)
	select {
	case err := <-ended:
		if err == nil {
			fault.Point("after-settle")
		}
		return err
	case <-a.s.ctx.Done():
		return context.Cause(a.s.ctx)
	}
}

// unpark removes handled entries from the head of the parked list. What has
// come since is due at once.
func (a *attempt) unpark(ctx context.Context, entries []stream.Entry) (left int, err error) {
	var events []string
	for _, e := range entries {
		if e.Signal.Cause == event.CauseEvent {
			events = append(events, e.Signal.CauseID)
		}
	}
	for {
		fault.Point("before-unpark")
		left, err = a.s.lease.Unpark(ctx, a.ln.key, idsOf(entries), events, 0)
		if err == nil || errors.Is(err, stream.ErrFenced) || !loops.Sleep(ctx, 200*time.Millisecond) {
			return left, err
		}
		a.s.log.Warn("could not remove what is settled of a parked entity; trying again", "entity", a.ln.key.String(), "error", err)
	}
}

// afterParked lets the lane of a parked entity go on as an ordinary one, with
// whatever has come for it since it was un-parked. If something failed on the
// way the retry is made again, uncharged, with what is still parked: after a
// refusal of the store by way of Redis, so that it takes no other retry's lane.
func (a *attempt) afterParked(err error) {
	if errors.Is(err, errRefused) {
		a.state.Refused++
		pause := refusals.After(a.state.Refused, 0)
		a.park(err, false, pause, pause)
		return
	}
	if err != nil {
		a.syncAgain(err)
		return
	}
	a.ln.endRetry()
	a.ln.done(0)
	a.end(nil)
}

// buryParked writes dead letters for everything that was parked.
func (a *attempt) buryParked(class fate.Class, cause error) {
	n := a.parked.Attempt + 1
	a.state.Attempts = append(a.state.Attempts, numbered{N: n, At: a.s.w.Now().UTC(), Error: last(class, cause)})
	err := a.eachPage(func(entries []stream.Entry) error {
		return a.writeLetters(a.s.ctx, class, charged(entries), n)
	})
	a.afterParked(err)
}

// buryExhausted buries what has no attempts left, which is the head of the
// list, and leaves in the batch what has. It reports whether anything is left
// to park; if not, the attempt is over.
func (a *attempt) buryExhausted(class fate.Class, limit int) bool {
	n := a.parked.Attempt + 1
	for {
		spent := 0
		for spent < len(a.batch) && a.batch[spent].Attempts+1 >= limit {
			spent++
		}
		if spent == 0 {
			return true
		}
		if err := a.writeLetters(a.s.ctx, class, charged(a.batch[:spent]), n); err != nil {
			a.afterParked(err)
			return false
		}
		left, err := a.unpark(a.s.ctx, a.batch[:spent])
		if err != nil || left == 0 {
			a.afterParked(err)
			return false
		}
		// What is left besides came meanwhile, or names parents that were not asked:
		// this attempt was not for it.
		if a.parked.Len -= spent; a.parked.Len <= 0 {
			a.afterParked(nil)
			return false
		}
		if a.batch = a.batch[spent:]; len(a.batch) > 0 {
			return true
		}
		if _, a.batch, err = a.s.lease.Parked(a.s.ctx, a.ln.key, 0, min(page, a.parked.Len)); err != nil || len(a.batch) == 0 {
			a.afterParked(err)
			return false
		}
	}
}

// charged returns the entries with the attempt that has just failed counted.
func charged(entries []stream.Entry) []stream.Entry {
	out := make([]stream.Entry, len(entries))
	for i, e := range entries {
		e.Attempts++
		out[i] = e
	}
	return out
}

func traceID(e stream.Entry) string { return telemetry.TraceID(e.Signal.Trace) }
