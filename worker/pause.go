package worker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Why a source is paused: what a reason begins with. People are told of all
// but the first two, which end by themselves and mean only that we are quick,
// and of pauses by hand, which they made.
const (
	becauseThrottled     = "throttled"
	becauseUsedUp        = "rate limit used up"
	becauseDown          = "source is down"
	becauseProbe         = "probe failed"
	becauseRefused       = "credentials refused"
	becauseMisconfigured = "misconfigured"
)

const (
	// firstPause and longestPause bound a pause that nobody asked a length of.
	firstPause   = time.Second
	longestPause = time.Minute
	// downAfter is how many fetches in a row must fail until the probe path is
	// asked whether the source is down.
	downAfter = 3
	// probeWithin is how long one worker may take to probe for the fleet.
	probeWithin = 15 * time.Second
)

// look asks for the source's state and, if it is paused, tries to be the one
// that probes it; Redis says who and when, by its own clock.
func (s *source) look(ctx context.Context, loop *telemetry.Loop) {
	state, err := s.w.Streams.Source(ctx, s.Name)
	if err != nil {
		loop.Waiting("redis")
		return // what was last seen stands; reading fails too while redis is away
	}
	s.see(state)
	s.tellOfPause(ctx, state)
	s.w.Metrics.Pace.WithLabelValues(s.Name).Set(s.pace.now(time.Now()))
	if state.Paused && !state.Until.IsZero() && s.probing.CompareAndSwap(false, true) {
		defer s.probing.Store(false)
		loop.Waiting("the provider")
		s.probe(ctx)
	}
}

// see takes the state for what is so now.
func (s *source) see(state stream.SourceState) {
	was := s.state.Swap(&state)
	if was.Paused == state.Paused {
		return
	}
	gauge := 0.0
	if state.Paused {
		gauge = 1
		s.w.Logger.Warn("source paused", "source", s.Name, "reason", state.Reason, "until", state.Until, "by", state.By)
		if strings.HasPrefix(state.Reason, becauseThrottled) {
			s.pace.refused(time.Now())
		}
	} else {
		s.w.Logger.Info("source resumed", "source", s.Name)
		if strings.HasPrefix(was.Reason, becauseMisconfigured) {
			s.forgetAnswers()
		}
	}
	s.w.Metrics.SourcePaused.WithLabelValues(s.Name).Set(gauge)
}

// tellOfPause raises one alert for each pause that wants a human, whoever made
// it, and another should it come to wait for somebody's hands. One worker of the
// fleet does it, the one that holds shard 0; that people were told is kept with
// the pause, so its successor knows.
func (s *source) tellOfPause(ctx context.Context, state stream.SourceState) {
	if !state.Paused || !wantsAHuman(state) || !s.w.holds(0) {
		return
	}
	what := "it resumes by itself"
	if state.Until.IsZero() {
		what = "it is to be resumed by hand"
	}
	this := state.Since.String() + what
	if state.Told == what || s.toldOf == this {
		return
	}
	class, _, _ := strings.Cut(state.Reason, ":")
	s.w.Alerts.Raise(alert.Alert{Kind: alert.SourcePaused, Source: s.Name, Reason: state.Reason, Class: class})
	s.toldOf = this
	if err := s.w.Streams.Told(ctx, s.Name, state.Since, what); err != nil {
		s.w.Logger.Warn("could not note that people were told of a pause; they may be told again", "source", s.Name, "error", err)
	}
}

func wantsAHuman(state stream.SourceState) bool {
	byHand := state.Until.IsZero() && !strings.HasPrefix(state.Reason, becauseMisconfigured)
	return !byHand && !strings.HasPrefix(state.Reason, becauseThrottled) && !strings.HasPrefix(state.Reason, becauseUsedUp)
}

// probe asks the provider whether it is there again, if this worker is the one
// in the fleet to do so.
func (s *source) probe(ctx context.Context) {
	probe, err := s.w.Streams.TakeProbe(ctx, s.Name, probeWithin)
	if err != nil || probe == "" {
		return
	}
	if err := s.Client.Probe(ctx); err != nil {
		if ctx.Err() == nil {
			s.pause(ctx, err, because(err, becauseProbe))
		}
		return
	}
	s.resetFailures()
	if resumed, err := s.w.Streams.EndProbe(ctx, s.Name, probe); err == nil && resumed {
		s.see(stream.SourceState{})
	}
}

// because names the reason of a pause after a probe failed.
func because(err error, otherwise string) string {
	switch class, _ := fate.Of(err); class {
	case fate.Throttled:
		return becauseThrottled
	case fate.Refused:
		return becauseRefused
	}
	return otherwise
}

// pause pauses the source for the fleet: as long as the provider asked, or
// longer with every strike.
func (s *source) pause(ctx context.Context, cause error, what string) {
	_, d := fate.Of(cause)
	if d <= 0 {
		d = min(firstPause<<min(s.state.Load().Strikes, 10), longestPause)
	}
	s.pauseFor(ctx, d, fmt.Sprintf("%s: %s", what, firstLine(cause.Error())))
}

// pauseFor pauses the source until a probe after d; 0: until somebody resumes
// it.
func (s *source) pauseFor(ctx context.Context, d time.Duration, reason string) {
	if err := s.w.Streams.Pause(ctx, s.Name, d, reason, s.w.ID); err != nil {
		s.w.Logger.Warn("could not pause a source", "source", s.Name, "reason", reason, "error", err)
		return
	}
	if state, err := s.w.Streams.Source(ctx, s.Name); err == nil {
		s.see(state)
	}
}

// heed pauses the source when the provider says that its limit is used up,
// before it has to refuse anybody.
func (s *source) heed(ctx context.Context) {
	rated, ok := s.Client.(Rated)
	if !ok || s.paused() {
		return
	}
	if left, ok := rated.Allowance(); ok && left.Remaining == 0 {
		d := max(left.Until(time.Now()), time.Millisecond)
		s.pauseFor(ctx, d, becauseUsedUp+": the provider counts anew in "+d.Round(time.Second).String())
	}
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
			s.pause(ctx, err, because(err, becauseDown))
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
