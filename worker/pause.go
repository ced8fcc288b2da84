package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

const (
	// downAfter is how many fetches in a row must fail until the probe path is
	// asked whether the source is down.
	downAfter = 3
	// probeWithin is how long one worker may take to probe for the fleet.
	probeWithin = 15 * time.Second
	// probesEvery is the least time between two probes on account of bad answers.
	probesEvery = 250 * time.Millisecond
)

// pauses is how long pauses last that nobody asked a length of.
var pauses = fate.Pauses{}.WithDefaults()

// look asks for the source's state and, if it is paused, tries to be the one
// that probes it; Redis says who and when, by its own clock.
func (s *source) look(ctx context.Context, loop *telemetry.Loop) {
	state, err := s.w.Streams.Source(ctx, s.Name)
	if err != nil {
		loop.Waiting("redis")
		return // what was last seen stands; reading fails too while redis is away
	}
	s.see(state)
	s.alertPause(ctx, state)
	s.w.Metrics.Pace.WithLabelValues(s.Name).Set(s.pace.now(time.Now()))
	if state.Paused && !state.Until.IsZero() {
		loop.Waiting("the provider")
		s.probe(ctx, state)
	}
}

// see takes the state for what is so now.
func (s *source) see(state stream.SourceState) {
	was := s.state.Swap(&state)
	if was.Paused == state.Paused && was.Kind == state.Kind {
		return
	}
	gauge := 0.0
	if state.Paused {
		gauge = 1
		s.w.Logger.Warn("source paused", "source", s.Name, "kind", string(state.Kind), "reason", state.Reason, "until", state.Until, "by", state.By)
		if state.Kind.SlowsThePace() {
			s.pace.refused(time.Now())
		}
	} else {
		s.w.Logger.Info("source resumed", "source", s.Name)
		s.prober.Forget() // a bad answer of before would pause it again
		if was.Kind == fate.PausedMisconfigured {
			s.forgetAnswers()
		}
	}
	s.w.Metrics.SourcePaused.WithLabelValues(s.Name).Set(gauge)
}

// alertPause raises one alert for each pause that wants a human, whoever made
// it, and another should it come to wait for somebody's hands. One worker of the
// fleet does it, the one that holds shard 0; that people were told is kept with
// the pause, so its successor knows.
func (s *source) alertPause(ctx context.Context, state stream.SourceState) {
	if !state.Paused || !state.Kind.WantsAHuman() || !s.w.holds(0) {
		return
	}
	what := "it resumes by itself"
	if state.Until.IsZero() {
		what = "it is to be resumed by hand"
	}
	this := state.Since.String() + what
	if state.Told == what || s.alerted == this {
		return
	}
	// The state was read before shard 0 was looked at, which may have come from
	// another worker meanwhile.
	now, err := s.w.Streams.Source(ctx, s.Name)
	if err != nil || !now.Since.Equal(state.Since) || now.Told == what {
		return // the next look sees it
	}
	s.w.Alerts.Raise(alert.Alert{Kind: alert.SourcePaused, Source: s.Name, Reason: state.Reason, Class: state.Kind.Words()})
	s.alerted = this
	if err := s.w.Streams.Told(ctx, s.Name, state.Since, what); err != nil {
		s.w.Logger.Warn("could not note that people were told of a pause; they may be told again", "source", s.Name, "error", err)
	}
}

// probe asks the provider whether it is there again, if this worker is the one
// in the fleet to do so.
func (s *source) probe(ctx context.Context, state stream.SourceState) {
	probe, err := s.w.Streams.TakeProbe(ctx, s.Name, probeWithin)
	if err != nil || probe == "" {
		return
	}
	asking, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	if err := s.prober.Fresh(asking); err != nil {
		if asking.Err() == nil {
			s.pause(ctx, err)
		}
		return
	}
	if len(state.Witnesses) > 0 && !s.answersChanged(asking, state) {
		if asking.Err() == nil {
			p := fate.Pause{Kind: state.Kind, For: pauses.Length(state.Strikes), Reason: state.Reason, Witnesses: state.Witnesses}
			s.pauseAs(ctx, p)
		}
		return
	}
	s.resetFailures()
	if resumed, err := s.w.Streams.EndProbe(ctx, s.Name, probe); err == nil && resumed {
		s.see(stream.SourceState{})
	}
}

// pause pauses the source for the fleet since a probe failed.
func (s *source) pause(ctx context.Context, probe error) {
	s.pauseAs(ctx, pauses.After(probe, s.state.Load().Strikes))
}

// pauseAs pauses the source for the fleet.
func (s *source) pauseAs(ctx context.Context, p fate.Pause) {
	if err := s.w.Streams.PauseAs(ctx, s.Name, p, s.w.ID); err != nil {
		s.w.Logger.Warn("could not pause a source", "source", s.Name, "reason", p.Reason, "error", err)
		return
	}
	if state, err := s.w.Streams.Source(ctx, s.Name); err == nil {
		s.see(state)
	}
}

// isIll asks the probe path, which depends on no entity, by Ask or Recent of the
// prober, whether it is the source that gives bad answers. If so, the source is
// paused.
func (s *source) isIll(ctx context.Context, ask func(context.Context) error) bool {
	if s.paused() {
		return true
	}
	err := ask(ctx)
	if err != nil && ctx.Err() == nil && !s.paused() {
		s.pause(ctx, err)
	}
	return err != nil
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
		s.pauseAs(ctx, fate.NewPause(fate.PausedUsedUp, d, "the provider counts anew in "+d.Round(time.Second).String()))
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
	// Many answers in a row failed. Is it the source, or are these entities ill?
	if s.paused() || suspect && s.isIll(ctx, s.prober.Recent) {
		return true
	}
	if suspect {
		s.resetFailures()
	}
	return false
}

func (s *source) resetFailures() {
	s.mu.Lock()
	s.failed = 0
	s.mu.Unlock()
}
