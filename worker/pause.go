package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// probesEvery is the least time between two probes on account of bad answers.
const probesEvery = 250 * time.Millisecond

// look acts on the state of a paused source: it tries to resume it.
func (s *source) look(ctx context.Context, loop *telemetry.Loop, state condition.State) {
	s.alertPause(ctx, state)
	if state.EndsByItself() {
		loop.Waiting("the provider")
		if s.condition.TryResume(ctx, state) {
			s.failed.End()
		}
	}
}

// changed acts on a pause, or on its end.
func (s *source) changed(was, state condition.State) {
	gauge := 0.0
	if state.Paused {
		gauge = 1
		s.w.Logger.Info("source paused", "source", s.Name, "kind", string(state.Kind), "reason", state.Reason, "until", state.Until, "by", state.By)
		if state.Kind.SlowsThePace() {
			s.pace.Refused(time.Now())
		}
	} else {
		s.w.Logger.Info("source resumed", "source", s.Name)
		if was.Kind == condition.PausedMisconfigured {
			s.evidence.forgetAnswers()
		}
		s.ready.kick()
		s.w.nudgeAll()
	}
	s.w.Metrics.SourcePaused.WithLabelValues(s.Name).Set(gauge)
}

// alertPause raises one alert for each pause that needs a person, and another once the
// pause waits for an operator. The worker that holds shard 0 does so for the fleet. It
// stores the alert with the pause, so that its successor knows of it.
func (s *source) alertPause(ctx context.Context, state condition.State) {
	if !state.Paused || !state.Kind.WantsAHuman() || !s.w.holds(0) {
		return
	}
	what := "it resumes by itself"
	if !state.EndsByItself() {
		what = "it is to be resumed by hand"
	}
	this := state.Since.String() + what
	if state.Told == what || s.alerted == this {
		return
	}
	// Shard 0 may be changing hands: its former holder may be raising the alert.
	if mine, err := s.w.Streams.BeginAlert(ctx, s.Name, state.Since, what); err != nil || !mine {
		return // the next look raises it
	}
	s.w.Alerts.Raise(alert.Alert{Kind: alert.SourcePaused, Source: s.Name, Reason: state.Reason, Class: state.Kind.Words()})
	s.alerted = this
	if err := s.w.Streams.Told(ctx, s.Name, state.Since, what); err != nil {
		s.w.Logger.Warn("could not store that an alert of a pause was raised; it may be raised again", "source", s.Name, "error", err)
	}
}

// heed pauses the source when the provider says that its limit is used up, before
// the provider has to refuse a request.
func (s *source) heed(ctx context.Context) {
	rated, ok := s.Client.(Rated)
	if !ok || s.paused() {
		return
	}
	if left, ok := rated.Allowance(); ok && left.Remaining == 0 {
		d := max(left.Until(time.Now()), time.Millisecond)
		s.condition.Pause(ctx, condition.NewPause(condition.PausedUsedUp, d, "the provider resets its limit in "+d.Round(time.Second).String()))
	}
}

// isDown decides, after a fetch that failed by the provider's fault, whether the
// source as a whole is down. If so it is paused, and the failure costs no attempt.
func (s *source) isDown(ctx context.Context) bool {
	suspect := s.failed.Fail()
	// Many answers in a row failed. Is the source down, or do only these entities fail?
	if s.paused() || suspect && s.condition.IsIll(ctx, s.condition.Prober.Recent) {
		return true
	}
	if suspect {
		s.failed.End()
	}
	return false
}

// paused reports whether the fleet has paused the source, as last seen.
func (s *source) paused() bool { return s.condition.Paused() }

// Rated is a Fetcher that knows what the provider says is left of its limit;
// *provider.Client is one.
type Rated interface {
	// Allowance returns what is left. False: the provider does not say.
	Allowance() (provider.Allowance, bool)
}
