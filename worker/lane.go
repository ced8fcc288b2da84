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
	// readySince is when it became ready.
	readySince time.Time
	// lag counts the reads in a row that did not show what they should.
	lag int
	// retry is set on the lane of a parked entity whose time has come: what
	// waits for it is in Redis, not in queue.
	retry bool
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
			src.ready.push(ln)
			continue
		}
		ln.queue = append(ln.queue, e)
		if e.Signal.Class < ln.class {
			ln.class = e.Signal.Class
			if ln.state == laneReady {
				src.ready.push(ln) // the older place in the queue is skipped
			}
		}
	}
}

// startRetry makes a lane for a parked entity that is due. It reports false if
// the entity has a lane already.
func (s *shard) startRetry(src *source, k event.Key, class event.Class) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := laneKey{key: k}
	if s.closing || s.lanes[id] != nil {
		return false
	}
	ln := &lane{shard: s, src: src, key: k, id: id, class: class, retry: true}
	s.lanes[id] = ln
	src.ready.push(ln)
	return true
}

// claimForSync moves a ready lane to syncing and counts the work. False: the
// lane is gone, no longer ready, or its shard is being handed over.
func (ln *lane) claimForSync(class event.Class) bool {
	s := ln.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes[ln.id] != ln || ln.state != laneReady || ln.class != class || !s.begin() {
		return false
	}
	ln.state = laneSyncing
	wait := time.Since(ln.readySince)
	s.w.Metrics.BudgetWait.WithLabelValues(ln.src.Name, class.String()).Observe(wait.Seconds())
	return true
}

// waiting returns what waits in the lane now.
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
	ln.queue, ln.lag = ln.queue[n:], 0
	if len(ln.queue) == 0 {
		delete(s.lanes, ln.id)
		return
	}
	ln.class = ln.queue[0].Signal.Class
	for _, e := range ln.queue {
		ln.class = min(ln.class, e.Signal.Class)
	}
	ln.state = laneReady
	ln.src.ready.push(ln)
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
			ln.state = laneReady
			ln.src.ready.push(ln)
		}
	})
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
