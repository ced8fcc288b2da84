package worker

import (
	"cmp"
	"container/heap"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/worker/entity"
)

// readyQueue holds a source's lanes that could sync now: within each class, the
// one that has waited longest comes first. An account that all its orders' events
// name thus comes after the orders it was named by, and is fetched once.
//
// Lanes of entities that failed before have waited longest nearly always, and may
// be as many as the budget is large, so they wait apart: while both kinds of a
// class wait, they take turns.
type readyQueue struct {
	mu     sync.Mutex
	lanes  [len(classes)]laneHeap // those that have not failed
	failed [len(classes)]laneHeap // those that have
	last   [len(classes)]bool     // whether failed had the last turn
	byLane map[laneName]*readyLane
	pushes int
	pushed chan struct{}
}

// readyLane is a lane of a shard that waits for its turn.
type readyLane struct {
	shard  *shard
	id     entity.ID
	class  event.Class
	failed bool // the entity failed before
	// since is when it became ready; turn and place are the queue's.
	since time.Time
	turn  turn
	place int
}

// laneName names a lane among those of all shards. A shard that is lost and taken
// again is another.
type laneName struct {
	shard *shard
	id    entity.ID
}

var classes = [...]event.Class{event.Command, event.Live, event.Redrive, event.Reconcile, event.Backfill}

// rank is the place of a class among all.
func rank(c event.Class) int { return int(c - event.Command) }

func newReadyQueue() *readyQueue {
	return &readyQueue{byLane: map[laneName]*readyLane{}, pushed: make(chan struct{}, 1)}
}

// push adds a lane to its class, by since when the oldest of what waits in it has
// been in Redis. A lane that is there already gets a new place.
func (q *readyQueue) push(l readyLane, since time.Time) {
	if l.class < event.Command || l.class > event.Backfill {
		l.class = event.Backfill // from a newer version that knows more classes
	}
	l.since = time.Now()
	q.mu.Lock()
	q.removeLocked(laneName{l.shard, l.id})
	q.pushes++
	l.turn = turn{since: since.UnixMilli(), push: q.pushes}
	q.byLane[laneName{l.shard, l.id}] = &l
	heap.Push(q.heapOf(&l), &l)
	q.mu.Unlock()
	q.kick()
}

// remove takes a lane out that has ended.
func (q *readyQueue) remove(s *shard, id entity.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.removeLocked(laneName{s, id})
}

func (q *readyQueue) removeLocked(name laneName) {
	if l := q.byLane[name]; l != nil {
		heap.Remove(q.heapOf(l), l.place-1)
		delete(q.byLane, name)
	}
}

func (q *readyQueue) heapOf(l *readyLane) *laneHeap {
	if l.failed {
		return &q.failed[rank(l.class)]
	}
	return &q.lanes[rank(l.class)]
}

// kick wakes the source's dispatcher.
func (q *readyQueue) kick() {
	select {
	case q.pushed <- struct{}{}:
	default:
	}
}

// len returns how many lanes of a class wait, with at most so many that failed
// before.
func (q *readyQueue) len(c event.Class, failed int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.lanes[rank(c)]) + min(len(q.failed[rank(c)]), failed)
}

// pop takes the lane of a class whose turn it is, or nil. failed: it may be one
// that failed before.
func (q *readyQueue) pop(c event.Class, failed bool) *readyLane {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := rank(c)
	from := &q.lanes[n]
	if failed = failed && len(q.failed[n]) > 0; failed && (len(*from) == 0 || !q.last[n]) {
		from = &q.failed[n]
	}
	if len(*from) == 0 {
		return nil
	}
	q.last[n] = from == &q.failed[n]
	l := heap.Pop(from).(*readyLane)
	delete(q.byLane, laneName{l.shard, l.id})
	return l
}

// turn orders lanes: by since when they wait, ms, then by the order they came in.
type turn struct {
	since int64
	push  int
}

func (t turn) compare(u turn) int {
	return cmp.Or(cmp.Compare(t.since, u.since), cmp.Compare(t.push, u.push))
}

// laneHeap is for container/heap. A lane in it knows its place, counted from 1.
type laneHeap []*readyLane

func (h laneHeap) Len() int { return len(h) }

func (h laneHeap) Less(i, j int) bool { return h[i].turn.compare(h[j].turn) < 0 }

func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push is for container/heap.
func (h *laneHeap) Push(x any) {
	ln := x.(*readyLane)
	*h = append(*h, ln)
	ln.place = len(*h)
}

// Pop is for container/heap.
func (h *laneHeap) Pop() any {
	old := *h
	ln := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	ln.place = 0
	return ln
}

// since is when an entry came to Redis, by its id, but never later than now by
// a clock that is never set: an id from the future, after Redis' clock was set
// back, would wait behind all that comes.
func (w *Worker) since(entry string) time.Time {
	now := w.started.Add(time.Since(w.started))
	text, _, _ := strings.Cut(entry, "-")
	ms, err := strconv.ParseInt(text, 10, 64)
	if came := time.UnixMilli(ms); err == nil && came.Before(now) {
		return came
	}
	return now
}
