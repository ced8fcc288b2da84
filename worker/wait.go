package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
)

const (
	// busyIdle is how long the intake loop waits until it looks whether it may read a
	// stream again that it may not read now.
	busyIdle = 20 * time.Millisecond
	// calmWait is how long a shard waits for new entries in one call of Redis.
	calmWait = 2 * time.Minute
	// troubledWait is how long after trouble with Redis all streams are read again. The
	// time doubles with each further such reading, and the last comes before calmWait.
	troubledWait = time.Second
)

// waiter lets an intake loop wait until there may be something to do. Its own entries
// in Redis are waited for by one blocking read, which goes on while the loop does
// other things; all else the worker knows by itself.
//
// A read that says nothing for minutes is trusted, since nothing of the shard is read
// but by its leaseholder. It is not after trouble with Redis: a replica that was
// promoted may lack the last entries, and number those to come below what was read
// before. So all streams are read again then, less and less often, whether they are
// quiet or not.
type waiter struct {
	r    *intake
	read *stream.Waiter
	// again is when all streams are read again, zero for never; pause is how long that
	// is after the last time.
	again time.Time
	pause time.Duration
}

func newWaiter(r *intake) *waiter { return &waiter{r: r, read: r.lease.Waiter()} }

func (w *waiter) close() { w.read.Close() }

// covers reports whether a stream is being waited for.
func (w *waiter) covers(name streamName) bool {
	return w.read.Done() != nil && w.read.Covers([]stream.Place{{Source: name.source, Tier: name.tier}})
}

// look takes what the wait under way has found, if it is over, and notes trouble.
func (w *waiter) look() {
	if w.r.troubled.Swap(false) {
		w.read.Close()
		w.trouble()
		return
	}
	select {
	case <-w.read.Done():
		w.end()
	default:
	}
	if !w.again.IsZero() && !time.Now().Before(w.again) {
		w.read.Close() // the next wait is from where this reading ends
		w.openAll()
		w.readAgainIn(2 * w.pause)
	}
}

// end takes what a wait that is over has found.
func (w *waiter) end() {
	r := w.r
	found, err := w.read.End()
	if err != nil {
		w.trouble()
		if r.ctx.Err() == nil {
			r.loop.Waiting("redis")
			loops.Sleep(r.ctx, redisPause)
		}
		return
	}
	for _, p := range found {
		r.open[streamName{p.Source, p.Tier}] = true
		r.w.woken.Add(1)
	}
}

// trouble has all streams read again, and all due times asked for.
func (w *waiter) trouble() {
	w.openAll()
	w.readAgainIn(troubledWait)
	w.r.lease.Overdue("")
}

// readAgainIn has all streams read again after a pause, unless that is a long one.
func (w *waiter) readAgainIn(pause time.Duration) {
	w.again, w.pause = time.Time{}, pause
	if pause < calmWait {
		w.again = time.Now().Add(pause)
	}
}

func (w *waiter) openAll() {
	for _, name := range w.r.w.names {
		for _, t := range tiers {
			w.r.open[streamName{name, t}] = true
		}
	}
}

// forSomething waits until there may be something to do: a new entry, a parked entity
// that is due, a delayed signal whose time has come, or room again.
func (w *waiter) forSomething() {
	r := w.r
	var places []stream.Place
	for _, name := range r.w.names {
		for _, t := range tiers {
			if !r.open[streamName{name, t}] {
				places = append(places, stream.Place{Source: name, Tier: t})
			}
		}
	}
	if len(places) > 0 && !w.read.Covers(places) {
		w.read.Begin(r.ctx, places, calmWait)
	}
	r.loop.Waiting("something to do")
	t := time.NewTimer(w.nextTime())
	defer t.Stop()
	select {
	case <-r.ctx.Done():
	case <-r.wake:
	case <-r.lease.SoonerDue():
	case <-t.C:
	case <-w.read.Done():
		w.end()
	}
}

// nextTime returns how long until there is something to do that needs no word from
// Redis.
func (w *waiter) nextTime() time.Duration {
	r := w.r
	wait := r.nextDelayed()
	if !w.again.IsZero() {
		wait = min(wait, time.Until(w.again))
	}
	for _, name := range r.w.names {
		src := r.w.sources[name]
		if src.paused() {
			continue // its end wakes
		}
		wait = min(wait, time.Until(r.askDueAt(name)))
		if src.full() || r.open[streamName{name, tiers[0]}] || r.open[streamName{name, tiers[1]}] {
			wait = min(wait, busyIdle)
		}
	}
	return max(wait, time.Millisecond)
}
