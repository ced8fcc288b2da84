package worker

import (
	"container/heap"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/worker/entity"
)

// delays is a heap of entries that are not to be looked at before their time,
// soonest first. They stay unacked in Redis, so nothing is lost with it.
type delays []delayedEntry

// delayedEntry waits until a time of the monotonic clock: while it waits, the
// wall clock may be set.
type delayedEntry struct {
	src   *source
	entry event.Entry
	until time.Time
}

func (d delays) Len() int { return len(d) }

func (d delays) Less(i, j int) bool { return d[i].until.Before(d[j].until) }

func (d delays) Swap(i, j int) { d[i], d[j] = d[j], d[i] }

// Push is for container/heap.
func (d *delays) Push(x any) { *d = append(*d, x.(delayedEntry)) }

// Pop is for container/heap.
func (d *delays) Pop() any {
	old := *d
	last := old[len(old)-1]
	*d = old[:len(old)-1]
	return last
}

func (d *delays) clear(w *Worker) {
	for _, e := range *d {
		e.src.delayed.Add(-1)
	}
	*d = nil
}

// delay holds an entry back for a time.
func (r *intake) delay(src *source, e event.Entry, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return // dropped with the rest
	}
	heap.Push(&r.delayed, delayedEntry{src, e, time.Now().Add(wait)})
	src.delayed.Add(1)
}

// heldBack returns how long an entry is still to be held back. It is never longer
// than the sender can have meant, even if the clocks of the two differ.
func (r *intake) heldBack(src *source, e event.Entry) time.Duration {
	sig := e.Signal
	if sig.NotBefore.IsZero() {
		return 0
	}
	wait := sig.NotBefore.Sub(r.w.Now())
	kind := src.Definition.Kind(sig.Ref.Key.Kind)
	switch {
	case kind == nil:
	case sig.Cause == event.CauseDerived:
		wait = min(wait, kind.Every)
	case sig.Cause == event.CauseVerify:
		wait = min(wait, max(kind.VerifyAfter, r.w.Rewritten, entity.LaggingVerify))
	}
	return wait
}

// nextDelayed returns how long until the first delayed entry is due, an hour if
// there is none.
func (r *intake) nextDelayed() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.delayed) == 0 {
		return time.Hour
	}
	return max(time.Until(r.delayed[0].until), time.Millisecond)
}

// releaseDelayed releases the delayed entries that are due. Their entities may have
// been parked since they were read, so they go through parkBehind, which
// returns those that are not. It reports whether there were any.
func (r *intake) releaseDelayed() bool {
	due := map[*source][]event.Entry{}
	now := time.Now()
	r.mu.Lock()
	for len(r.delayed) > 0 && !r.delayed[0].until.After(now) {
		d := heap.Pop(&r.delayed).(delayedEntry)
		d.src.delayed.Add(-1)
		due[d.src] = append(due[d.src], d.entry)
	}
	r.mu.Unlock()
	if len(due) == 0 {
		return false
	}
	r.enter()
	defer r.leave()
	for src, entries := range due {
		if err := r.parkBehind(src, entries); err != nil {
			r.lost(err)
			return true
		}
	}
	return true
}
