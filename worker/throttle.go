package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// freeThrottles is how often in a row one entity may be asked for too soon, as
// far as the provider says, before that is charged as an attempt: whoever asks
// quickly is refused now and then, whatever the entity.
const freeThrottles = 2

// throttled decides whether the source is asked too often, which nobody is
// charged for, or whether it is this entity that is answered so, as one that the
// provider has locked. Then it alone waits, as long as it was asked to.
func (a *attempt) throttled(err error) {
	if a.src.overasked(a.s.ctx, a.ln.key, err) {
		a.hold(100*time.Millisecond, err)
		return
	}
	a.state.Throttled++
	if a.state.Throttled > freeThrottles {
		a.charge(fate.Throttled, err)
		return
	}
	_, asked := fate.Of(err)
	delay := max(asked, pauses.Length(2*(a.state.Throttled-1)))
	a.park(err, false, delay, delay)
}

// overasked pauses the source if a 429 for one entity means that it is asked too
// often: the probe path is answered so too; or another entity was before, and
// none was answered otherwise since, for a probe path may have no limit. Entities
// that are answered so again and again while others are not do not count. How long
// one entity's answer asks us to wait pauses the source for no longer than a
// pause that nobody asked a length of.
func (s *source) overasked(ctx context.Context, k event.Key, err error) bool {
	if s.isIll(ctx, s.prober.Recent) {
		s.throttle.Refused(k)
		return true
	}
	if !s.throttle.Another(k) {
		return false
	}
	strikes := s.state.Load().Strikes
	_, asked := fate.Of(err)
	d := min(max(asked, pauses.Length(strikes)), pauses.Longest)
	s.pauseAs(ctx, fate.NewPause(fate.PausedThrottled, d, err.Error()))
	return true
}
