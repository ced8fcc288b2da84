package worker

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/stream"
)

// lane is the FIFO of one entity. Its fields are guarded by its shard's mu;
// while its state is syncing, the head of the queue belongs to the sync.
type lane struct {
	shard *shard
	src   *source
	key   event.Key
	id    laneKey
	state laneState
	// class is the highest among what waits.
	class event.Class
	queue []stream.Entry
	// readySince is when it became ready; turn and place are its ready queue's.
	readySince time.Time
	turn       turn
	place      int
	// lag counts the reads in a row that did not show what they should, redone the
	// syncs in a row that could not bring to their end what they had decided.
	lag, redone int
	// retry is set on the lane of a parked entity whose time has come: what
	// waits for it is in Redis, not in queue. oldest is the id of the first of it.
	// tried: it was parked for a failure, not only set aside.
	retry  bool
	tried  bool
	oldest string
}

// laneKey finds a lane. Entry is empty, but for the negative control that
// gives every entry a lane of its own.
type laneKey struct {
	key   event.Key
	entry string
}

type laneState int

const (
	laneReady   laneState = iota // in the ready queue
	laneSyncing                  // a sync is under way
	laneResting                  // waits for a moment before it is ready again
)

// enqueue puts entries into the lanes of their entities and makes those lanes
// ready that are not already under way. All of them are in their lanes before
// any sync can start, so a burst that was read at once is covered at once.
func (s *shard) enqueue(source string, entries ...stream.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.w.sources[source]
	for _, e := range entries {
		id := laneKey{key: e.Signal.Ref.Key}
		if fault.Off("lanes") {
			id.entry = e.ID
		}
		ln := s.lanes[id]
		if ln == nil {
			ln = &lane{shard: s, src: src, key: id.key, id: id, class: e.Signal.Class, queue: []stream.Entry{e}}
			s.lanes[id] = ln
			ln.push()
			continue
		}
		ln.queue = append(ln.queue, e)
		if e.Signal.Class < ln.class {
			waits := src.ready.remove(ln)
			ln.class = e.Signal.Class
			if waits {
				ln.push()
			}
		}
	}
}

// push makes the lane ready.
func (ln *lane) push() {
	oldest := ln.oldest
	if !ln.retry {
		oldest = ln.queue[0].ID
	}
	ln.state = laneReady
	ln.src.ready.push(ln, ln.shard.w.since(oldest))
}

// startRetry makes a lane for a parked entity that is due and has none. waiting
// are the first entries that wait for it.
func (s *shard) startRetry(src *source, k event.Key, p stream.Parked, waiting []stream.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := laneKey{key: k}
	if s.closing {
		return
	}
	ln := &lane{shard: s, src: src, key: k, id: id, class: classOf(waiting), retry: true, tried: tried(p), oldest: waiting[0].ID}
	s.lanes[id] = ln
	s.retrying = append(s.retrying, ln)
	ln.push()
}

// claimForSync moves a ready lane to syncing and counts the work. False: the
// lane is gone, or its shard is being handed over.
func (ln *lane) claimForSync(class event.Class) bool {
	s := ln.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes[ln.id] != ln || !s.begin() {
		return false
	}
	ln.state = laneSyncing
	wait := time.Since(ln.readySince)
	s.w.Metrics.BudgetWait.WithLabelValues(ln.src.Name, class.String()).Observe(wait.Seconds())
	return true
}

// waiting returns what waits in the lane now. The entries are the queue's own,
// for reading only: intake copies them when the queue grows.
func (ln *lane) waiting() []stream.Entry {
	ln.shard.mu.Lock()
	defer ln.shard.mu.Unlock()
	return ln.queue[:len(ln.queue):len(ln.queue)]
}

// done takes the first n entries off the lane and makes it ready again if more
// wait; else the lane ends.
func (ln *lane) done(n int) {
	s := ln.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes[ln.id] != ln {
		return
	}
	ln.queue, ln.lag, ln.redone = ln.queue[n:], 0, 0
	if len(ln.queue) == 0 {
		delete(s.lanes, ln.id)
		return
	}
	ln.class = ln.queue[0].Signal.Class
	for _, e := range ln.queue {
		ln.class = min(ln.class, e.Signal.Class)
	}
	ln.push()
}

// syncedAgain counts one more sync that is made again, and returns how many it is
// in a row.
func (ln *lane) syncedAgain() int {
	ln.shard.mu.Lock()
	defer ln.shard.mu.Unlock()
	ln.redone++
	return ln.redone
}

// rest makes the lane ready again after d, with what waits in it untouched.
func (ln *lane) rest(d time.Duration) {
	s := ln.shard
	s.mu.Lock()
	ln.state = laneResting
	s.mu.Unlock()
	time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lanes[ln.id] == ln && ln.state == laneResting {
			ln.push()
		}
	})
}

// head is what syncs of an entity have covered and the store does not hold yet,
// while its lane goes on. Should the worker die, it is synced again. What comes
// after it is not to be parked before: parked entries are tried first.
type head struct {
	syncs   int
	settled chan struct{} // closed when there is none any more
	refused chan struct{} // closed once the store has refused one
}

// goesOn counts a covered head of an entity.
func (s *shard) goesOn(k event.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.heads[k]
	if h == nil {
		h = &head{settled: make(chan struct{}), refused: make(chan struct{})}
		s.heads[k] = h
	}
	h.syncs++
}

// isSettled ends one.
func (s *shard) isSettled(k event.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.heads[k]
	if h.syncs--; h.syncs == 0 {
		close(h.settled)
		delete(s.heads, k)
	}
}

// headRefused notes that the store has refused to settle a covered head.
func (s *shard) headRefused(k event.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.heads[k].refused:
	default:
		close(s.heads[k].refused)
	}
}

// waitForHead waits until nothing that was covered of the entity is unsettled,
// or the shard is not ours any more. False: the store has refused some of it, and
// nobody knows for how long. The caller syncs its lane, so no more comes.
func (s *shard) waitForHead(k event.Key) bool {
	s.mu.Lock()
	h := s.heads[k]
	s.mu.Unlock()
	if h == nil {
		return true
	}
	select {
	case <-h.settled:
	case <-s.ctx.Done():
	case <-h.refused:
		return false
	}
	return true
}

// leave ends the lane and returns what still waits in it.
func (ln *lane) leave() []stream.Entry {
	s := ln.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes[ln.id] != ln {
		return nil
	}
	delete(s.lanes, ln.id)
	return ln.queue
}
