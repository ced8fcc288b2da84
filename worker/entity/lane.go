package entity

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// ID names a lane. Entry is empty, but for the negative control that gives every
// entry a lane of its own.
type ID struct {
	Key   event.Key
	Entry string
}

// lane is the queue of one entity. While its state is syncing, the head of the
// queue belongs to the sync.
type lane struct {
	s     *Shard
	next  *lane // of the same hash
	id    ID
	state laneState
	// class is the highest among what waits.
	class event.Class
	queue []event.Entry
	// retry: what waits is parked in Redis and not in queue; oldest is the id of
	// the first of it. failed: it was parked for a failure.
	retry, failed bool
	oldest        string
	// lag counts the reads in a row that did not show what they should, redone the
	// syncs in a row that could not finish what they had decided.
	lag, redone int
	// unsettled counts the batches that are covered and not settled: the head.
	// refused: the store has refused one of them. parking is the sync that waits
	// for the head, to park the rest.
	unsettled int
	refused   bool
	parking   *sync
}

type laneState int

const (
	idle    laneState = iota // nothing waits; it has an unsettled head
	ready                    // waits for its turn
	syncing                  // a sync is under way
	resting                  // waits for a moment before it is ready again
)

// route puts entries into the lanes of their entities and makes those lanes ready
// that are not under way. All are in their lanes before any sync can start, so a
// burst that was read at once is covered at once.
func (s *Shard) route(entries []event.Entry) {
	for _, e := range entries {
		id := ID{Key: e.Signal.Ref.Key}
		if s.cfg.Split {
			id.Entry = e.ID
		}
		l := s.lanes.get(id)
		if l == nil {
			l = &lane{s: s, id: id}
			s.lanes.add(l)
		}
		l.add(e)
	}
}

func (l *lane) add(e event.Entry) {
	l.queue = append(l.queue, e)
	switch {
	case l.state == idle:
		l.class = e.Signal.Class
		l.ready()
	case e.Signal.Class < l.class:
		l.class = e.Signal.Class
		if l.state == ready {
			l.ready()
		}
	}
}

// due makes a lane for a parked entity whose time has come.
func (s *Shard) due(in Due) {
	id := ID{Key: in.Key}
	l := s.lanes.get(id)
	if s.closing || l != nil && l.state != idle {
		return
	}
	if l == nil {
		l = &lane{s: s, id: id}
		s.lanes.add(l)
	}
	l.class, l.retry, l.failed, l.oldest = event.HighestClass(in.First), true, in.Failed, in.First[0].ID
	if s.called[in.Key] {
		l.class = event.Command
	}
	s.retrying[l] = true
	l.ready()
}

// ready makes the lane wait for its turn.
func (l *lane) ready() {
	oldest := l.oldest
	if !l.retry {
		oldest = l.queue[0].ID
	}
	l.state = ready
	l.s.emit(Ready{Lane: l.id, Class: l.class, Oldest: oldest, Failed: l.failed})
}

// rest makes the lane ready again after d, with all that waits in it.
func (l *lane) rest(d time.Duration) {
	l.state = resting
	l.s.emit(Rest{Lane: l.id, After: d})
}

// goOn removes the first n entries, which a sync has dealt with, and makes the lane
// ready again if more wait.
func (l *lane) goOn(n int) {
	l.queue, l.lag, l.redone = l.queue[n:], 0, 0
	l.endRetry()
	if len(l.queue) > 0 {
		l.class = event.HighestClass(l.queue)
		l.ready()
		return
	}
	l.state, l.queue = idle, nil
	l.maybeEnd()
}

// leave ends the lane and returns what waits in it.
func (l *lane) leave() []event.Entry {
	waiting := l.queue
	l.state, l.queue = idle, nil
	l.endRetry()
	l.maybeEnd()
	return waiting
}

// endRetry makes the lane of a parked entity an ordinary one.
func (l *lane) endRetry() {
	l.retry, l.failed = false, false
	delete(l.s.retrying, l)
}

func (l *lane) maybeEnd() {
	if l.state == idle && l.unsettled == 0 && l.s.lanes.get(l.id) == l {
		l.s.lanes.remove(l)
	}
}

// afterHead lets a sync go on once all batches covered before are settled, or the
// store has refused one of them.
func (l *lane) afterHead(y *sync) {
	if l.unsettled > 0 && !l.refused {
		l.parking = y
		return
	}
	parking{y}.headSettled(l.unsettled == 0)
}

// settled takes a settlement's end.
func (s *Shard) settled(in Settled) {
	y := s.syncs[in.Sync]
	if y == nil {
		return
	}
	if y.waits { // the sync goes on with it
		y.waits = false
		draining{y}.pageSettled(in.Refused)
		return
	}
	l := y.lane
	if in.Refused {
		l.refused = true
		y.end(errRefused) // a handover does not wait for it
	} else {
		if l.unsettled--; l.unsettled == 0 {
			l.refused = false
		}
		s.emit(Ack{Sync: y.number, Source: l.id.Key.Source, Batch: y.batch, Owed: y.owed})
	}
	if p := l.parking; p != nil && (l.unsettled == 0 || l.refused) {
		l.parking = nil
		parking{p}.headSettled(l.unsettled == 0)
	}
	l.maybeEnd()
}

// acked ends the sync whose entries have left Redis.
func (s *Shard) acked(n Number) {
	if y := s.syncs[n]; y != nil {
		y.end(y.cause)
		delete(s.syncs, n)
	}
}
