package simulation

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// world is one run: everything there is, on one clock, in one goroutine.
type world struct {
	plan  *Plan
	rng   *rand.Rand
	now   time.Duration // since the start
	todo  agenda
	seq   uint64
	stops []func()

	redis    *redis
	store    *store
	provider *upstream
	feed     feed
	workers  []*worker
	active   []Fault // faults that last
	undone   int     // deeds and deliveries still to come
	calm     bool
	over     bool
	outside  life // the api's and the reconciler's

	apiKilled time.Duration

	broken  *Violation
	verbose bool
	lines   []string
}

func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 2)) }

// noon is when every run starts.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// wall is the time of day.
func (w *world) wall() time.Time { return noon.Add(w.now) }

// after calls f when d has passed.
func (w *world) after(d time.Duration, f func()) {
	w.seq++
	w.todo.push(item{at: w.now + max(d, 0), seq: w.seq, f: f})
}

// between returns a random duration.
func (w *world) between(from, to time.Duration) time.Duration {
	return from + time.Duration(w.rng.Int64N(int64(to-from)+1))
}

// chance is true once in n times.
func (w *world) chance(n int) bool { return w.rng.IntN(n) == 0 }

// latency is how long a message takes: mostly little, now and then very long.
func (w *world) latency() time.Duration {
	if w.chance(40) {
		return w.between(5*time.Millisecond, 400*time.Millisecond)
	}
	return w.between(100*time.Microsecond, 3*time.Millisecond)
}

// say adds a line to the transcript.
func (w *world) say(format string, args ...any) {
	if w.verbose {
		w.lines = append(w.lines, fmt.Sprintf("%9.4fs  ", w.now.Seconds())+fmt.Sprintf(format, args...))
	}
}

// item is something that happens at a time.
type item struct {
	at  time.Duration
	seq uint64
	f   func()
}

func (i item) before(j item) bool { return i.at < j.at || i.at == j.at && i.seq < j.seq }

// agenda is a heap of items.
type agenda []item

func (a *agenda) push(x item) {
	h := append(*a, x)
	i := len(h) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !x.before(h[parent]) {
			break
		}
		h[i] = h[parent]
		i = parent
	}
	h[i] = x
	*a = h
}

func (a *agenda) pop() item {
	h := *a
	top, x := h[0], h[len(h)-1]
	h[len(h)-1] = item{}
	h = h[:len(h)-1]
	for i := 0; len(h) > 0; {
		child := 2*i + 1
		if child >= len(h) {
			h[i] = x
			break
		}
		if child+1 < len(h) && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(x) {
			h[i] = x
			break
		}
		h[i] = h[child]
		i = child
	}
	*a = h
	return top
}

// life is what ends with a worker or with its hold of a shard. What happens to
// one that is stopped happens once it goes on.
type life struct {
	w       *world
	of      *life // the worker's, of a shard
	dead    bool
	stopped time.Duration // until then
}

func (l *life) alive() bool { return !l.dead && (l.of == nil || l.of.alive()) }

// then calls f if l lives and when it is not stopped.
func (l *life) then(f func()) {
	if !l.alive() {
		return
	}
	until := l.stopped
	if l.of != nil {
		until = max(until, l.of.stopped)
	}
	if until > l.w.now {
		l.w.after(until-l.w.now, func() { l.then(f) })
		return
	}
	f()
}

// after calls f when d has passed, if l lives then.
func (l *life) after(d time.Duration, f func()) { l.w.after(d, func() { l.then(f) }) }

// proc is a loop of a worker, as sequential code on the world's one goroutine.
type proc struct {
	l     *life
	next  func() (struct{}, bool)
	yield func(struct{}) bool
}

// ended is what a proc panics with whose life is over.
type ended struct{}

func (l *life) loop(f func(p *proc)) {
	p := &proc{l: l}
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		p.yield = yield
		defer func() {
			if r := recover(); r != nil && r != any(ended{}) {
				panic(r)
			}
		}()
		f(p)
	})
	p.next = next
	l.w.stops = append(l.w.stops, stop)
	l.after(0, p.resume)
}

func (p *proc) resume() { p.next() }

// wait waits for resume.
func (p *proc) wait() {
	if !p.yield(struct{}{}) || !p.l.alive() {
		panic(ended{})
	}
}

func (p *proc) sleep(d time.Duration) {
	p.l.after(d, p.resume)
	p.wait()
}

// await waits for the answer of a call.
func await[T any](p *proc, start func(then func(T, error))) (T, error) {
	var v T
	var err error
	start(func(a T, e error) { v, err = a, e; p.resume() })
	p.wait()
	return v, err
}
