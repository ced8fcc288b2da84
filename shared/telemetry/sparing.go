package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Sparing returns a logger for what one failure makes many callers say, such as every
// shard of a worker when Redis is away: of a message, whatever else its records have,
// one line is written in each period of the given length. The first line of a later
// period says how many were left out since the one before it, as "more".
//
// Messages are constants, so few are remembered. Loggers made of it by With share them.
func Sparing(logger *slog.Logger, period time.Duration, now func() time.Time) *slog.Logger {
	return slog.New(sparing{logger.Handler(), &spared{period: period, now: now, said: map[string]*saying{}}})
}

type sparing struct {
	slog.Handler
	spared *spared
}

// spared is what was said, by message.
type spared struct {
	period time.Duration
	now    func() time.Time

	mu   sync.Mutex
	said map[string]*saying
}

type saying struct {
	last time.Time
	more int // left out since then
}

// say reports whether a message is to be written now and, if so, how often it was not
// since it last was.
func (s *spared) say(message string) (more int, ok bool) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.said[message]
	if before != nil && now.Sub(before.last) < s.period {
		before.more++
		return 0, false
	}
	s.said[message] = &saying{last: now}
	if before == nil {
		return 0, true
	}
	return before.more, true
}

func (h sparing) Handle(ctx context.Context, r slog.Record) error {
	more, ok := h.spared.say(r.Message)
	if !ok {
		return nil
	}
	if more > 0 {
		r.AddAttrs(slog.Int("more", more))
	}
	return h.Handler.Handle(ctx, r)
}

func (h sparing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return sparing{h.Handler.WithAttrs(attrs), h.spared}
}

func (h sparing) WithGroup(name string) slog.Handler {
	return sparing{h.Handler.WithGroup(name), h.spared}
}
