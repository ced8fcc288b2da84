package entity

import (
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
)

func (s *Shard) emit(e Effect) { s.out = append(s.out, e) }

// do emits an effect and sets what its result is for.
func (y *sync) do(e Effect, next func(Result)) {
	y.next = next
	y.s.emit(e)
}

// unlocked goes on once the entity's lock is given back: before its lane goes on,
// or its next sync would find it taken.
func (y *sync) unlocked(next func(Result)) {
	if !y.hasLock {
		next(Result{})
		return
	}
	y.hasLock = false
	y.do(Unlock{Sync: y.number}, next)
}

// hold makes the lane wait for d with all that is in it. No attempt is charged.
func (y *sync) hold(d time.Duration, cause error) {
	y.finish(cause)
	y.lane.rest(d)
}

// again repeats the whole sync, uncharged, since its decision could not be carried
// out. The pause grows each time, since the provider is asked again.
func (y *sync) again(err error) {
	y.lane.redone++
	pause := y.s.spread(Refusals, y.lane.redone, 0)
	y.s.cfg.Logger.Info("could not finish a sync; making it again", "shard", y.s.cfg.Shard, "entity", y.ref.Key.String(), "error", err, "retry_in", pause.Round(time.Millisecond).String())
	y.hold(pause, err)
}

// spread returns a back-off's pause, with the shard's random numbers.
func (s *Shard) spread(b fate.Backoff, failed int, asked time.Duration) time.Duration {
	return b.Spread(failed, asked, s.cfg.Random())
}

// free releases the slot, once.
func (y *sync) free() {
	if !y.freed {
		y.freed = true
		y.s.emit(Free{Sync: y.number})
	}
}

// end says that nothing of the sync is under way any more, once.
func (y *sync) end(err error) {
	if y.over {
		return
	}
	y.over = true
	y.s.running--
	y.s.emit(End{Sync: y.number, Err: err})
	y.s.maybeQuiet()
}

func (s *Shard) maybeQuiet() {
	if s.closing && s.running == 0 {
		s.emit(Quiet{})
	}
}

// finish ends a sync of which nothing is to be settled.
func (y *sync) finish(err error) {
	y.free()
	y.end(err)
	delete(y.s.syncs, y.number)
}
