package worker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
)

const (
	// stateEvery is how often a source's state is looked at when no budget is
	// being taken, which tells it too.
	stateEvery = 250 * time.Millisecond
	// downAfter is how many fetches in a row must fail until the probe path is
	// asked whether the source is down.
	downAfter = 3
	// firstPause and longestPause bound a pause that nobody asked a length of.
	firstPause   = time.Second
	longestPause = time.Minute
)

// source is what a worker keeps of one source: lanes that are ready, how much
// is in hand, and how the provider has been answering.
type source struct {
	Source
	w       *Worker
	ready   *readyQueue
	slots   chan struct{}
	inHand  atomic.Int64
	delayed atomic.Int64
	state   atomic.Pointer[stream.SourceState]
	rate    atomic.Pointer[stream.Rate]
	probing atomic.Bool

	mu     sync.Mutex
	failed int    // fetches failed in a row
	recent window // answers for known entities
}

func newSource(w *Worker, o Source) *source {
	if o.Concurrency <= 0 {
		o.Concurrency = 100
	}
	s := &source{Source: o, w: w, ready: newReadyQueue(), slots: make(chan struct{}, o.Concurrency)}
	s.state.Store(&stream.SourceState{})
	s.rate.Store(&o.Rate)
	return s
}

// paused reports whether the fleet has paused the source, as last seen.
func (s *source) paused() bool { return s.state.Load().Paused }

// full reports whether as much is in hand as may be.
func (s *source) full() bool { return s.inHand.Load()-s.delayed.Load() >= int64(s.w.InHand) }

// roomForBackground: background is read only while the lanes are less than
// half full, so that it never stands in the way of live signals.
func (s *source) roomForBackground() bool {
	delayed := s.delayed.Load()
	return s.inHand.Load()-delayed < int64(s.w.InHand)/2 && delayed < int64(s.w.InHand)
}

// run starts the syncs of lanes that are ready, as budget and concurrency
// allow, until ctx ends; then it waits for those under way.
func (s *source) run(ctx context.Context) {
	loop := s.w.Health.Loop("source " + s.Name)
	defer loop.Done()
	var syncs sync.WaitGroup
	defer syncs.Wait()
	var looked time.Time
	for ctx.Err() == nil {
		loop.Turn()
		if time.Since(looked) >= stateEvery {
			looked = time.Now()
			s.look(ctx)
		}
		wait := stateEvery
		if !s.paused() {
			wait = min(wait, s.dispatch(ctx, &syncs))
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-s.ready.pushed:
		case <-t.C:
		}
		t.Stop()
	}
}

// look asks for the source's state and, if it is paused and its time has come,
// probes it for the fleet.
func (s *source) look(ctx context.Context) {
	state, err := s.w.Streams.Source(ctx, s.Name)
	if err != nil {
		return // what was last seen stands; reading fails too while redis is away
	}
	s.see(state)
	if state.Paused && !state.Until.IsZero() && s.w.Now().After(state.Until) && s.probing.CompareAndSwap(false, true) {
		defer s.probing.Store(false)
		s.probe(ctx)
	}
}

func (s *source) see(state stream.SourceState) {
	was := s.state.Swap(&state)
	if was.Paused == state.Paused {
		return
	}
	gauge := 0.0
	if state.Paused {
		gauge = 1
		s.w.Logger.Warn("source paused", "source", s.Name, "reason", state.Reason, "until", state.Until, "by", state.By)
	} else {
		s.w.Logger.Info("source resumed", "source", s.Name)
	}
	s.w.Metrics.SourcePaused.WithLabelValues(s.Name).Set(gauge)
}

// probe asks the provider whether it is there again, if this worker is the one
// in the fleet to do so.
func (s *source) probe(ctx context.Context) {
	mine, err := s.w.Streams.TakeProbe(ctx, s.Name, 15*time.Second)
	if err != nil || !mine {
		return
	}
	if err := s.Client.Probe(ctx); err != nil {
		if ctx.Err() == nil {
			s.pause(ctx, err, "probe failed")
		}
		return
	}
	s.resetFailures()
	if err := s.w.Streams.Resume(ctx, s.Name); err == nil {
		s.see(stream.SourceState{})
	}
}

// pause pauses the source for the fleet: as long as the provider asked, or
// longer with every strike.
func (s *source) pause(ctx context.Context, cause error, what string) {
	_, d := fate.Of(cause)
	if d <= 0 {
		d = min(firstPause<<min(s.state.Load().Strikes, 10), longestPause)
	}
	reason := fmt.Sprintf("%s: %v", what, cause)
	if err := s.w.Streams.Pause(ctx, s.Name, d, reason, s.w.ID); err != nil {
		s.w.Logger.Warn("could not pause a source", "source", s.Name, "reason", reason, "error", err)
		return
	}
	if state, err := s.w.Streams.Source(ctx, s.Name); err == nil {
		s.see(state)
	}
}

// dispatch takes budget for the lanes that are ready, highest class first, and
// starts their syncs. It returns when to look again.
func (s *source) dispatch(ctx context.Context, syncs *sync.WaitGroup) time.Duration {
	wait := stateEvery
	for _, class := range classes {
		want := min(s.ready.len(class), cap(s.slots)-len(s.slots))
		if want == 0 {
			continue
		}
		granted := want
		if rate := *s.rate.Load(); rate.Limit > 0 {
			g, err := s.w.Streams.Take(ctx, s.Name, class, want, rate)
			if err != nil {
				return 200 * time.Millisecond // redis is away: nothing can be settled anyway
			}
			s.see(g.Source)
			if g.Source.Paused {
				return stateEvery
			}
			if granted = g.Tokens; granted < want {
				wait = min(wait, g.Wait)
			}
		}
		for granted > 0 {
			ln := s.ready.pop(class)
			if ln == nil {
				break
			}
			if !ln.claimForSync(class) {
				continue
			}
			granted--
			s.slots <- struct{}{} // has room: only this loop fills it
			syncs.Go(func() {
				defer func() { <-s.slots; s.ready.kick() }()
				ln.shard.sync(ln)
			})
		}
	}
	return max(wait, time.Millisecond)
}

// isDown decides, after a fetch that failed for the provider's fault, whether
// the source as a whole is down: then it is paused, and the failure is
// nobody's attempt.
func (s *source) isDown(ctx context.Context) bool {
	s.mu.Lock()
	s.failed++
	suspect := s.failed >= downAfter
	s.mu.Unlock()
	switch {
	case s.paused():
		return true
	case !suspect:
		return false
	case !s.probing.CompareAndSwap(false, true):
		return true // somebody is finding out
	}
	defer s.probing.Store(false)
	// Many answers in a row failed. Is it the source, or are these entities
	// ill? The probe path, which depends on none of them, decides.
	if err := s.Client.Probe(ctx); err != nil {
		if ctx.Err() == nil {
			s.pause(ctx, err, "source is down")
		}
		return true
	}
	s.resetFailures()
	return false
}

func (s *source) resetFailures() {
	s.mu.Lock()
	s.failed = 0
	s.mu.Unlock()
}

// classOf returns the highest class among entries.
func classOf(entries []stream.Entry) event.Class {
	class := event.Backfill
	for _, e := range entries {
		class = min(class, e.Signal.Class)
	}
	return class
}
