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
	return slog.New(sparing{logger.Handler(), NewRarely(period, now)})
}

type sparing struct {
	slog.Handler
	rarely *Rarely
}

// Rarely decides which of the reports of one kind are written. Safe for concurrent use.
type Rarely struct {
	period time.Duration
	now    func() time.Time

	mu   sync.Mutex
	said map[string]*saying // by kind
}

type saying struct {
	last time.Time
	more int // left out since then
}

// NewRarely lets one report of each kind through in each period. Kinds are remembered,
// so there must be few.
func NewRarely(period time.Duration, now func() time.Time) *Rarely {
	return &Rarely{period: period, now: now, said: map[string]*saying{}}
}

// Say reports whether a report of the kind is to be written now and, if so, how many
// were not since one last was.
func (s *Rarely) Say(kind string) (more int, ok bool) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.said[kind]
	if before != nil && now.Sub(before.last) < s.period {
		before.more++
		return 0, false
	}
	s.said[kind] = &saying{last: now}
	if before == nil {
		return 0, true
	}
	return before.more, true
}

func (h sparing) Handle(ctx context.Context, r slog.Record) error {
	more, ok := h.rarely.Say(r.Message)
	if !ok {
		return nil
	}
	if more > 0 {
		r.AddAttrs(slog.Int("more", more))
	}
	return h.Handler.Handle(ctx, r)
}

func (h sparing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return sparing{h.Handler.WithAttrs(attrs), h.rarely}
}

func (h sparing) WithGroup(name string) slog.Handler {
	return sparing{h.Handler.WithGroup(name), h.rarely}
}
