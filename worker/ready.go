package worker

import (
	"cmp"
	"container/heap"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
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
	tried  [len(classes)]laneHeap // those that have
	last   [len(classes)]bool     // whether tried had the last turn
	pushes int
	pushed chan struct{}
}

var classes = [...]event.Class{event.Live, event.Redrive, event.Reconcile, event.Backfill}

func newReadyQueue() *readyQueue { return &readyQueue{pushed: make(chan struct{}, 1)} }

// push adds a lane to its class, by since when the oldest of what waits in it
// has been in Redis.
func (q *readyQueue) push(ln *lane, since time.Time) {
	if ln.class < 0 || int(ln.class) >= len(q.lanes) {
		ln.class = event.Backfill // from a newer version that knows more classes
	}
	ln.readySince = time.Now()
	q.mu.Lock()
	q.pushes++
	ln.turn = turn{since: since.UnixMilli(), push: q.pushes}
	heap.Push(q.heapOf(ln), ln)
	q.mu.Unlock()
	q.kick()
}

// remove takes a lane out before its class changes or it ends. It reports false
// if the lane was not in.
func (q *readyQueue) remove(ln *lane) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if ln.place == 0 {
		return false
	}
	heap.Remove(q.heapOf(ln), ln.place-1)
	return true
}

func (q *readyQueue) heapOf(ln *lane) *laneHeap {
	if ln.tried {
		return &q.tried[ln.class]
	}
	return &q.lanes[ln.class]
}

// inOrder sorts lanes by their turns.
func (q *readyQueue) inOrder(lanes []*lane) {
	q.mu.Lock()
	defer q.mu.Unlock()
	slices.SortFunc(lanes, func(a, b *lane) int { return a.turn.compare(b.turn) })
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
func (q *readyQueue) len(c event.Class, tried int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.lanes[c]) + min(len(q.tried[c]), tried)
}

// pop takes the lane of a class whose turn it is, or nil. tried: it may be one
// that failed before.
func (q *readyQueue) pop(c event.Class, tried bool) *lane {
	q.mu.Lock()
	defer q.mu.Unlock()
	from := &q.lanes[c]
	if tried = tried && len(q.tried[c]) > 0; tried && (len(*from) == 0 || !q.last[c]) {
		from = &q.tried[c]
	}
	if len(*from) == 0 {
		return nil
	}
	q.last[c] = from == &q.tried[c]
	return heap.Pop(from).(*lane)
}

// turn says when it is whose turn: by since when, ms; then by who came first.
type turn struct {
	since int64
	push  int
}

func (t turn) compare(u turn) int {
	return cmp.Or(cmp.Compare(t.since, u.since), cmp.Compare(t.push, u.push))
}

// laneHeap is for container/heap. A lane in it knows its place, counted from 1.
type laneHeap []*lane

func (h laneHeap) Len() int { return len(h) }

func (h laneHeap) Less(i, j int) bool { return h[i].turn.compare(h[j].turn) < 0 }

func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

// Push is for container/heap.
func (h *laneHeap) Push(x any) {
	ln := x.(*lane)
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
