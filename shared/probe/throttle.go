package probe

import "sync"

// Throttle tells a source that is asked too often from one thing at it that is
// answered 429 whoever asks, and however seldom. The zero value is ready.
type Throttle struct {
	mu   sync.Mutex
	last any
}

// Answered notes that something was answered otherwise.
func (t *Throttle) Answered() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = nil
}

// Another notes that something, named by a comparable value, was answered 429,
// and reports whether something else was before it and nothing otherwise since.
func (t *Throttle) Another(what any) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	another := t.last != nil && t.last != what
	t.last = what
	return another
}
