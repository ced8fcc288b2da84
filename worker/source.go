package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream"
)

// untilKicked is how long a dispatcher waits that has nothing to wait for but lanes
// and slots, which kick it.
const untilKicked = time.Hour

// source is what a worker keeps of one source: lanes that are ready, how much is in
// flight, and how the provider has been answering.
type source struct {
	Source
	w       *Worker
	ready   *readyQueue
	slots   chan struct{}
	running [len(classes)]atomic.Int64 // syncs under way
	tried   atomic.Int64               // those of entities that failed before
	// live and background are how many entries of the tiers are in flight, delayed
	// how many of these are held back.
	live, background, delayed atomic.Int64
	turnover                  turnover
	rate                      atomic.Pointer[stream.Rate]
	pace                      condition.Pace
	condition                 *condition.Source
	// pauses has the state of a paused source, as last read.
	pauses chan condition.State
	// alerted is the pause of the last alert, and what that alert said.
	alerted string

	failed   condition.Streak  // of fetches
	answers  condition.Answers // for known entities
	evidence *evidence
	kinds    refusedKinds
	scopes   *condition.Scopes // nil: the source has none
	fuse     *fuse             // of its commands
}

func newSource(w *Worker, o Source) *source {
	if o.Concurrency <= 0 {
		o.Concurrency = 100
	}
	s := &source{
		Source: o, w: w, ready: newReadyQueue(), slots: make(chan struct{}, o.Concurrency),
		pauses: make(chan condition.State, 1),
	}
	s.evidence, s.fuse = newEvidence(w, s), newFuse(w, s.Name)
	s.condition = condition.New(condition.Options{
		Name: s.Name, By: w.ID, Fleet: w.Streams, Logger: w.Logger, Changed: s.changed,
		Probe:      func(ctx context.Context) error { return s.Client.Probe(ctx) },
		ProbeEvery: probesEvery, Answering: s.evidence.witnesses.Changed,
	})
	s.scopes = newScopes(w, o)
	s.rate.Store(&o.Rate)
	return s
}

// writer returns what sends changes. Nil: there is no key for that now.
func (s *source) writer() Writer {
	if s.Source.Writer == nil {
		return nil
	}
	return s.Source.Writer()
}

// full reports whether live entries in flight have reached their limit. Those of
// the background do not count: a sweep must not keep events from being read.
func (s *source) full() bool { return s.live.Load() >= int64(s.w.InFlight) }

// roomForBackground: background is read only while the lanes are less than
// half full, so that it never delays live signals.
func (s *source) roomForBackground() bool {
	delayed, most := s.delayed.Load(), int64(s.w.InFlight)
	return s.live.Load()+s.background.Load()-delayed < max(1, most/2) && delayed < most
}

// run starts the syncs of lanes that are ready, as budget and concurrency
// allow, until ctx ends; then it waits for those under way. It starts none before it
// is known whether the source is paused.
func (s *source) run(ctx context.Context) {
	loop := s.w.Health.Loop("source " + s.Name)
	defer loop.Done()
	loop.Waiting("the states of the sources")
	select {
	case <-s.w.knowsStates:
	case <-ctx.Done():
		return
	}
	var syncs sync.WaitGroup
	defer syncs.Wait()
	t := time.NewTimer(untilKicked)
	defer t.Stop()
	for ctx.Err() == nil {
		loop.Turn()
		wait := untilKicked
		if !s.paused() {
			wait = s.dispatch(ctx, &syncs)
		}
		loop.Waiting("lanes that are ready")
		t.Reset(wait)
		select {
		case <-ctx.Done():
		case <-s.ready.pushed:
		case <-t.C:
		case state := <-s.pauses:
			s.look(ctx, loop, state)
		}
	}
}

// attend has the source's loop look at a pause. The loop's last look may still be
// under way; the next state comes soon.
func (s *source) attend(state condition.State) {
	select {
	case s.pauses <- state:
	default:
	}
}

// dispatch takes budget for the lanes that are ready, highest class first, and
// starts their syncs. It returns when to look again.
func (s *source) dispatch(ctx context.Context, syncs *sync.WaitGroup) time.Duration {
	wait := untilKicked
	for _, class := range classes {
		want := min(s.ready.len(class, s.roomForTried()), cap(s.slots)-len(s.slots)-keptFor(s, class))
		if want <= 0 {
			continue
		}
		granted := want
		if rate := s.askRate(time.Now()); rate.Limit > 0 {
			asked := time.Now()
			g, err := s.w.Streams.Take(ctx, s.Name, class, want, rate)
			if err != nil {
				return 200 * time.Millisecond // redis is away: nothing can be settled anyway
			}
			s.condition.See(g.Source, asked)
			switch {
			case g.Source.Paused && s.paused():
				return untilKicked // its end kicks
			case g.Source.Paused: // See has ignored it; the next answer says more
				return stateEvery
			}
			if granted = g.Tokens; granted < want {
				wait = min(wait, g.Wait)
			}
		}
		for granted > 0 {
			l := s.ready.pop(class, s.roomForTried() > 0)
			if l == nil {
				break
			}
			r := l.shard.startSync(l.id)
			if r == nil {
				continue
			}
			granted--
			s.w.Metrics.BudgetWait.WithLabelValues(s.Name, class.String()).Observe(time.Since(l.since).Seconds())
			s.slots <- struct{}{} // has room: only this loop fills it
			s.running[rank(class)].Add(1)
			var tried int64
			if l.failed {
				tried = 1
			}
			s.tried.Add(tried)
			syncs.Go(func() {
				defer func() { s.running[rank(class)].Add(-1); s.tried.Add(-tried); <-s.slots; s.ready.kick() }()
				r.work()
			})
		}
	}
	return max(wait, time.Millisecond)
}

// fewSlots is up to how many slots none is kept free for a lower class.
const fewSlots = 2 * len(classes)

// keptFor returns how many slots a class leaves to lower ones: one to each that has
// work and none under way. Where slots are scarcer than budget, lower classes would
// otherwise wait for as long as a higher one has work.
func keptFor(s *source, class event.Class) (n int) {
	if cap(s.slots) <= fewSlots {
		return 0
	}
	for _, lower := range classes[rank(class)+1:] {
		if s.ready.len(lower, s.roomForTried()) > 0 && s.running[rank(lower)].Load() == 0 {
			n++
		}
	}
	return n
}

// roomForTried is how many more syncs of entities that failed before may be under
// way: half of all. What made them fail, as an answer that never comes, may hold a
// slot for long.
func (s *source) roomForTried() int {
	return max(0, max(1, cap(s.slots)/2)-int(s.tried.Load()))
}
