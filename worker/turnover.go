package worker

import (
	"sync"
	"time"
)

const (
	// turnoverWindow is over how long it is measured how fast entries are settled.
	turnoverWindow = 500 * time.Millisecond
	// soonSettled is the longest time within which as much as may be in flight is to be
	// settled for a full source to wait for room.
	soonSettled = time.Minute
)

// spillPays reports whether lanes of a full source are to be spilled, rather than
// waited for. To park an entity and to take it up again costs Redis several times what
// it costs to settle it. Where requests are limited it pays: all that waits for an
// entity is read, and one request serves it. Without a limit it pays once room for so
// many entries would be long in coming.
func (t *turnover) spillPays(limited bool, entries int, now time.Time) bool {
	return limited || t.isSlow(entries, now)
}

// turnover measures how fast a source's entries are settled while too much of it is in
// flight.
type turnover struct {
	mu      sync.Mutex
	began   time.Time // of the window
	settled int64     // in the window
	low     bool      // few were settled in the last window
	slow    bool      // and in the one before
}

// settle counts entries that were settled.
func (t *turnover) settle(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settled += int64(n)
}

// isSlow reports whether it would take long to settle so many entries. Until that is
// measured, it is not so.
func (t *turnover) isSlow(entries int, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch took := now.Sub(t.began); {
	case took >= 4*turnoverWindow: // nothing was full meanwhile
		t.low, t.slow = false, false
	case took >= turnoverWindow: // the first syncs may only have begun in it
		low := float64(t.settled)*soonSettled.Seconds() < float64(entries)*took.Seconds()
		t.low, t.slow = low, low && t.low
	default:
		return t.slow
	}
	t.began, t.settled = now, 0
	return t.slow
}
