package worker

import (
	"errors"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/worker/entity"
)

var tiers = [...]event.Tier{event.TierLive, event.TierBackground}

// intake reads the streams of a shard into lanes.
type intake struct {
	*shard
	loop   *telemetry.Loop
	events eventLog
	// uncertain streams are taken over before they are read.
	uncertain map[streamName]bool
	// open streams may hold something that was not read; the others are waited for.
	open map[streamName]bool
	wait *waiter
	// dueHeld is until when a source's due entities are not asked for.
	dueHeld map[string]time.Time
}

// newIntake returns the intake of a shard. All its streams are uncertain at first.
func newIntake(s *shard) *intake {
	loop := s.w.Health.Loop("intake " + strconv.Itoa(s.number))
	r := &intake{
		shard: s, loop: loop, events: eventLog{s, loop},
		uncertain: map[streamName]bool{}, open: map[streamName]bool{}, dueHeld: map[string]time.Time{},
	}
	r.wait = newWaiter(r)
	for _, name := range s.w.names {
		for _, t := range tiers {
			r.uncertain[streamName{name, t}] = true // the last owner may have left entries in flight
			r.open[streamName{name, t}] = true
		}
	}
	return r
}

// run reads one batch after the other until the shard is lost or handed over.
func (r *intake) run() {
	defer r.loop.Done()
	defer r.wait.close()
	for _, name := range r.w.names {
		r.w.bells.ring(name, r.number) // the last owner may have died before it did
	}
	for r.ctx.Err() == nil && !r.isClosing() {
		r.loop.Turn()
		r.wait.look()
		r.due()
		busy := false
		for _, name := range r.w.names {
			busy = r.pull(r.w.sources[name]) || busy
		}
		busy = r.releaseDelayed() || busy
		if !busy {
			r.wait.forSomething()
		}
	}
}

// pull reads one batch of a source, as far as it may be read. It reports whether it
// found anything.
func (r *intake) pull(src *source) bool {
	if src.paused() {
		return false
	}
	if src.full() {
		return src.turnover.spillPays(src.rate.Load().Limit > 0, r.w.InFlight, time.Now()) && r.spill(src)
	}
	live, background := streamName{src.Name, event.TierLive}, streamName{src.Name, event.TierBackground}
	reads := r.open[background] && src.roomForBackground()
	// Before the background, live is read empty: also while nothing waits for it.
	if r.open[live] || reads && !r.wait.covers(live) {
		if n := r.read(src, event.TierLive); n != 0 {
			return n > 0
		}
	}
	return reads && r.read(src, event.TierBackground) > 0
}

// read reads one batch of a stream from Redis into lanes and returns how many
// entries it had, -1 if it could not be read, which is tried again after a pause.
func (r *intake) read(src *source, tier event.Tier) int {
	name := streamName{src.Name, tier}
	room, ok := r.takeRoom()
	if !ok {
		return -1
	}
	defer func() { r.w.reading.giveBack(room) }()
	if tier == event.TierLive && src.full() { // others have read meanwhile
		return -1
	}
	r.enter()
	defer r.leave()
	if r.isClosing() {
		return 0
	}
	n, err := r.readLocked(src, name, &room)
	switch {
	case err == nil:
		return n
	case r.lost(err) || r.ctx.Err() != nil:
		return -1
	case errors.Is(err, stream.ErrResync):
		r.w.Metrics.Resyncs.Inc()
		r.uncertain[name], r.open[name] = true, true
		return 1 // at once
	}
	r.uncertain[name], r.open[name] = true, true
	r.loop.Waiting("redis")
	r.common.Warn("reading failed; trying again", "source", src.Name, "tier", tier, "error", err)
	loops.Sleep(r.ctx, redisPause)
	return -1
}

// takeRoom waits for room for a batch. It does so without the gate, so that entities are
// parked meanwhile. It reports false if the shard is lost.
func (r *intake) takeRoom() (room int, ok bool) {
	r.loop.Waiting("room to read")
	room, err := r.w.reading.take(r.ctx, readAtOnce)
	r.loop.Turn()
	return room, err == nil
}

// readLocked reads one batch of at most room entries. It gives back what the batch
// does not need and leaves the rest in room.
func (r *intake) readLocked(src *source, name streamName, room *int) (n int, err error) {
	if r.uncertain[name] {
		lost, err := r.lease.TakeOver(r.ctx, name.source, name.tier, func(page []event.Entry) error {
			n += len(page)
			return r.admit(src, page)
		})
		if lost > 0 {
			r.common.Error("pending entries were gone from their stream: redis lost data; recover appends them again", "source", src.Name, "entries", lost)
		}
		if err != nil {
			return 0, err
		}
		r.uncertain[name] = false
	}
	batch, err := r.lease.Read(r.ctx, name.source, name.tier, stream.Limits{Count: min(*room, r.w.InFlight), Bytes: *room * entryBytes})
	if err != nil {
		return n, err
	}
	r.open[name] = r.lease.More(name.source, name.tier)
	if spare := *room - len(batch); spare > 0 {
		r.w.reading.giveBack(spare)
		*room -= spare
	}
	if len(batch) == 0 {
		return n, nil
	}
	return n + len(batch), r.admit(src, batch)
}

// admit takes one batch to its lanes: log, fan out, route. It returns only errors
// after which the shard cannot go on.
func (r *intake) admit(src *source, batch []event.Entry) error {
	batch = r.hold(src.Name, batch)
	if len(batch) == 0 {
		return nil
	}
	fault.Point("after-read")
	if fault.Off("acks") {
		if err := r.lease.Ack(r.ctx, src.Name, batch[0].Tier, idsOf(batch), nil); err != nil {
			return err
		}
	}
	batch, err := r.events.unreadable(src, batch)
	if err != nil {
		return err
	}
	batch, err = r.events.logEvents(src, batch)
	if err != nil {
		return err
	}
	fault.Point("after-log")
	r.w.shared.lean(src.Name, batch)
	return r.route(src, batch)
}

// eventLog writes the events of a batch to the log before their entities are synced.
type eventLog struct {
	*shard
	loop *telemetry.Loop
}

// logEvents writes the log rows of the batch's events and appends a signal for
// every further entity they name, before any of them may settle. It returns the
// entries whose entity is still to be synced.
func (s eventLog) logEvents(src *source, batch []event.Entry) ([]event.Entry, error) {
	if err := s.complete(src, batch); err != nil {
		return nil, err
	}
	s.emptyErased(src, batch)
	arrivals := make([]storage.Arrival, 0, len(batch))
	for _, e := range batch {
		if e.Signal.Body != nil {
			arrivals = append(arrivals, s.arrival(e))
		}
	}
	if len(arrivals) == 0 {
		return batch, nil
	}
	logged, err := s.logRows(arrivals)
	var refused map[string]bool
	if fate.Is(err, fate.Permanent) {
		logged, refused, err = s.logApart(src, batch)
	}
	if err != nil {
		return nil, err
	}
	fault.Point("before-fan-out")
	var drafts []stream.Draft
	var settled []event.Entry
	var fresh []*event.Event
	open := batch[:0]
	next := 0
	for _, e := range batch {
		if e.Signal.Body == nil {
			open = append(open, e)
			continue
		}
		l := logged[next]
		next++
		again, err := s.noteFlags(s.ctx, e, l)
		if err != nil {
			return nil, err
		}
		drafts = append(drafts, again...)
		if l.Inserted && (e.Signal.Body.Note != 0 || src.Definition.Requires()) {
			fresh = append(fresh, e.Signal.Body)
		}
		if refused[e.ID] {
			drafts = append(drafts, forTheirOwnSake(e, l)...)
		}
		drafts = s.appendFurther(drafts, src, &e, l)
		if l.Outcomes[e.Signal.Ref.Key] == storage.Pending {
			e.Signal.Body = e.Signal.Body.Logged()
			open = append(open, e)
		} else {
			settled = append(settled, e)
		}
	}
	if err := s.appendAll(s.loop, drafts); err != nil {
		return nil, err
	}
	s.tally(src, fresh)
	fault.Point("after-fan-out")
	hints, err := debtsOf(s.shard, s.loop, settled)
	if err != nil {
		return nil, err
	}
	s.acks.add(src.Name, settled, hints, nil)
	return open, nil
}

// route puts entries where they wait: behind their parked entity, into the heap of
// delayed entries, or into their lane.
func (r *intake) route(src *source, batch []event.Entry) error {
	var parked []event.Entry
	free := batch[:0]
	for _, e := range batch {
		wait := r.heldBack(src, e)
		switch {
		case wait > 0:
			r.delay(src, e, wait)
		case e.Parked:
			parked = append(parked, e)
		default:
			free = append(free, e)
		}
	}
	r.step(entity.Route{Entries: free})
	parked, err := r.call(src, parked)
	if err != nil {
		return err
	}
	return r.parkBehind(src, parked)
}
