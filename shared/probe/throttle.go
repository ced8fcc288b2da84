package probe

import (
	"slices"
	"sync"
)

// Throttle tells a source that is asked too often from one thing at it that is
// answered 429 whoever asks, and however seldom. The zero value is ready.
type Throttle struct {
	mu   sync.Mutex
	last any
	// blamed are the two for which Another last reported true.
	blamed [2]any
}

// Answered notes that something was answered otherwise.
func (t *Throttle) Answered() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last, t.blamed = nil, [2]any{}
}

// Another notes that something, named by a comparable value, was answered 429,
// and reports whether something else was before it and nothing otherwise since:
// then the source is to be paused. The same two report it once. If they are still
// answered 429 after a pause that a good probe ended, and nothing else was asked,
// it is they that always are, and to pause again would never end.
func (t *Throttle) Another(what any) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.last
	t.last = what
	if before == nil || before == what || slices.Contains(t.blamed[:], before) && slices.Contains(t.blamed[:], what) {
		return false
	}
	t.blamed = [2]any{before, what}
	return true
}
