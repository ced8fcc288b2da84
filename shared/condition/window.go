package condition

import (
	"sync"

	"github.com/tarn-sync/tarn/shared/event"
)

const (
	// windowSize is how many answers a Window holds.
	windowSize = 50
	// mostMissing is how many entities are remembered that were not found.
	mostMissing = 10_000
)

// Window is the last 50 answers for entities that the mirror knows: whether each
// was a 404. When more than a fifth of many are, the provider has not lost that many
// entities at once; it is asked at the wrong address or with the wrong key. The
// zero value is empty.
type Window struct {
	gone [windowSize]bool
	n    int // answers ever
	sum  int // 404s among the last 50
}

// Add notes an answer and returns its number, from 0.
func (w *Window) Add(gone bool) (number int) {
	i := w.n % windowSize
	if w.n >= windowSize && w.gone[i] {
		w.sum--
	}
	w.gone[i] = gone
	w.n++
	if gone {
		w.sum++
	}
	return w.n - 1
}

// Revise turns the 404 of that number into a good answer. False: it has left the
// window.
func (w *Window) Revise(number int) bool {
	if w.n-number > windowSize {
		return false
	}
	w.gone[number%windowSize] = false
	w.sum--
	return true
}

// Suspicious reports whether more than a fifth of the answers so far are 404s. One
// answer is enough: see Full.
func (w *Window) Suspicious() bool { return w.sum*5 > min(w.n, windowSize) }

// Full reports whether there are enough answers to judge by alone.
func (w *Window) Full() bool { return w.n >= windowSize }

// NoneLeft reports whether there is nothing but 404s, for a whole window.
func (w *Window) NoneLeft() bool { return w.sum == windowSize }

// Answers are the last answers for entities that the mirror knows. Each entity
// counts once, by its last answer: a 404 that came too early is replaced by what
// came after it, and one that comes again is not added.
//
// Entities that a sweep found missing from a complete list are foreseen. They are
// counted apart, since many of them at once are no sign of a wrong address. The
// zero value is empty.
type Answers struct {
	mu               sync.Mutex
	recent, foreseen Window
	// missing are entities that were not found when last asked for.
	missing map[event.Key]counted
}

// counted is where a 404 is counted: in a window, nil for none, by its number.
type counted struct {
	in     *Window
	number int
}

// Found notes that an entity was found.
func (a *Answers) Found(k event.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.missing[k]
	delete(a.missing, k)
	for _, w := range []*Window{&a.recent, &a.foreseen} {
		if w != was.in || !w.Revise(was.number) {
			w.Add(false)
		}
	}
}

// Stub notes that an entity was answered, and that the answer says it is deleted.
func (a *Answers) Stub(k event.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lose(k, counted{})
	a.recent.Add(false)
	a.foreseen.Add(false)
}

// NotFound notes that an entity was not found.
func (a *Answers) NotFound(k event.Key, foreseen bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, missing := a.missing[k]; missing {
		return
	}
	w := &a.recent
	if foreseen {
		w = &a.foreseen
	}
	a.lose(k, counted{w, w.Add(true)})
}

func (a *Answers) lose(k event.Key, in counted) {
	if a.missing == nil {
		a.missing = map[event.Key]counted{}
	}
	if len(a.missing) < mostMissing {
		a.missing[k] = in
	}
}

// Deleted notes that the mirror holds the entity as deleted by now, so that it is
// not missing any more.
func (a *Answers) Deleted(k event.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.missing, k)
}

// Missing reports whether an entity was not found when last asked for. Such an
// entity is no witness.
func (a *Answers) Missing(k event.Key) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, missing := a.missing[k]
	return missing
}

// Suspicious reports whether so many known entities were not found that the address
// or the key is more likely wrong than all of them deleted. certain: there are
// enough answers to say so by these alone. Foreseen entities make it suspicious only
// if nothing else is answered at all.
func (a *Answers) Suspicious(foreseen bool) (suspicious, certain bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if foreseen {
		return a.foreseen.NoneLeft(), true
	}
	return a.recent.Suspicious(), a.recent.Full()
}

// Forget forgets all answers.
func (a *Answers) Forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.recent, a.foreseen, a.missing = Window{}, Window{}, nil
}
