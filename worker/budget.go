package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/stream"
)

// askRate returns the rate at which the fleet may ask the source: as configured, as
// learned from refusals, and as the provider says. If nothing is left of it, the
// source is paused.
func (s *source) askRate(now time.Time) stream.Rate {
	var told stream.Rate
	if rated, ok := s.Client.(Rated); ok {
		if left, ok := rated.Allowance(); ok && left.Remaining > 0 {
			told = stream.Rate{Limit: left.Remaining, Per: left.Until(now)}
		}
	}
	return s.pace.Of(*s.rate.Load(), told, now)
}

// token takes a token of the source's budget for a further request of a sync,
// which begins with one. It waits with others of its class, each of which has a
// floor of the rate, so that background work takes nothing from live events. The
// error may be fate.ErrPaused.
func (s *source) token(ctx context.Context, class event.Class) error {
	s.heed(ctx) // of the request before this one
	for {
		if s.paused() {
			return fate.ErrPaused
		}
		rate := s.askRate(time.Now())
		if rate.Limit <= 0 {
			return nil
		}
		asked := time.Now()
		g, err := s.w.Streams.Take(ctx, s.Name, class, 1, rate)
		if err != nil {
			return fromRedis(err)
		}
		s.condition.See(g.Source, asked)
		switch {
		case g.Source.Paused:
			return fate.ErrPaused
		case g.Tokens > 0:
			return nil
		case !loops.Sleep(ctx, max(g.Wait, time.Millisecond)):
			return ctx.Err()
		}
	}
}
