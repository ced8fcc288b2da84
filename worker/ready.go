package worker

import (
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// readyQueue holds a source's lanes that could sync now, first come first
// served within each class. A lane may stand in it twice after its class has
// risen; whoever takes it out asks the lane whether it is still meant.
type readyQueue struct {
	mu     sync.Mutex
	lanes  [len(classes)][]*lane
	pushed chan struct{}
}

var classes = [...]event.Class{event.Live, event.Redrive, event.Reconcile, event.Backfill}

func newReadyQueue() *readyQueue { return &readyQueue{pushed: make(chan struct{}, 1)} }

// push adds a lane at the end of its class.
func (q *readyQueue) push(ln *lane) {
	if ln.class < 0 || int(ln.class) >= len(q.lanes) {
		ln.class = event.Backfill // from a newer version that knows more classes
	}
	ln.readySince = time.Now()
	q.mu.Lock()
	q.lanes[ln.class] = append(q.lanes[ln.class], ln)
	q.mu.Unlock()
	q.kick()
}

// kick wakes the source's dispatcher.
func (q *readyQueue) kick() {
	select {
	case q.pushed <- struct{}{}:
	default:
	}
}

// len returns how many lanes of a class wait.
func (q *readyQueue) len(c event.Class) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.lanes[c])
}

// pop takes the first lane of a class, or nil.
func (q *readyQueue) pop(c event.Class) *lane {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.lanes[c]) == 0 {
		return nil
	}
	ln := q.lanes[c][0]
	q.lanes[c][0] = nil
	q.lanes[c] = q.lanes[c][1:]
	return ln
}
