package condition

import (
	"slices"
	"sync"
)

const (
	// ownRuns is in how many runs of 429s something may be answered so, others being
	// answered otherwise between them, until it is no sign of the source any more.
	ownRuns = 2
	// mostRefused is how many things are remembered that were answered 429.
	mostRefused = 10_000
)

// Throttle tells a source that is asked too often from single things at it that are
// always answered 429, however seldom they are asked for. A run of 429s ends when
// something is answered otherwise. The zero value is ready.
type Throttle struct {
	mu   sync.Mutex
	last any
	// blamed are the two for which Another last reported true.
	blamed [2]any
	run    int
	// refused is what was answered 429 and never otherwise since.
	refused map[any]refusals
}

// refusals are the runs in which something was answered 429: how many, and the
// last.
type refusals struct{ runs, last int }

// Answered notes that something, named by a comparable value, was answered
// otherwise.
func (t *Throttle) Answered(what any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last, t.blamed = nil, [2]any{}
	t.run++
	delete(t.refused, what)
}

// Refused notes that something was answered 429, by a source that is known to be
// asked too often.
func (t *Throttle) Refused(what any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(what)
}

// Another notes that something was answered 429, and reports whether something
// else was before it and nothing otherwise since: then the source is to be paused.
//
// The same two report it once. If they are still answered 429 after a pause that a
// good probe ended, and nothing else was asked, it is they that always are, and to
// pause again would never end. Neither does what was answered 429 in several runs,
// while others were not: however many such things there are, they would take turns.
func (t *Throttle) Another(what any) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count(what) > ownRuns {
		return false
	}
	before := t.last
	t.last = what
	if before == nil || before == what || slices.Contains(t.blamed[:], before) && slices.Contains(t.blamed[:], what) {
		return false
	}
	t.blamed = [2]any{before, what}
	return true
}

// count counts the run for something, and returns in how many it was answered 429.
func (t *Throttle) count(what any) int {
	r, known := t.refused[what]
	switch {
	case known && r.last == t.run:
		return r.runs
	case t.refused == nil, len(t.refused) >= mostRefused && !known:
		t.refused = map[any]refusals{}
	}
	r = refusals{r.runs + 1, t.run}
	t.refused[what] = r
	return r.runs
}
