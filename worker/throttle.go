package worker

import (
	"context"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

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
