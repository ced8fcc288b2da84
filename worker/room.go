package worker

import (
	"context"

	"golang.org/x/sync/semaphore"
)

const (
	// readAtOnce is the most entries of a batch. All that is read at once for an entity
	// is covered by one fetch.
	readAtOnce = 1000
	// readTogether is how many entries all shards may have read and not yet logged. An
	// entry that is being logged takes several times the memory of one that waits in
	// its lane: the reply of Redis, the decoded signal with the payload, and the row.
	readTogether = 3000
	// leastTogether is the least that readTogether is made for a small InFlight.
	leastTogether = 64
	// entryBytes is how many bytes of a batch stand for an entry: a batch of so many
	// entries ends after as many times this. A usual entry has half of it.
	entryBytes = 1 << 10
)

// readRoom bounds the entries that all shards of a worker have read and not yet
// logged. Shards that wait for room get it in the order in which they came.
type readRoom struct {
	most int
	room *semaphore.Weighted
}

// newReadRoom returns the bound of a worker that may have so many entries in flight:
// readTogether, or a fifth of those if that is less, and never below leastTogether.
func newReadRoom(inFlight int) readRoom {
	most := max(leastTogether, min(readTogether, inFlight/5))
	return readRoom{most, semaphore.NewWeighted(int64(most))}
}

// take waits until n more entries may be read, or half of the bound if that is
// less: one batch that is long in being logged leaves room to other shards. It returns
// how many may be read.
func (m readRoom) take(ctx context.Context, n int) (int, error) {
	n = min(n, m.most/2)
	return n, m.room.Acquire(ctx, int64(n))
}

// giveBack returns room.
func (m readRoom) giveBack(n int) { m.room.Release(int64(n)) }
