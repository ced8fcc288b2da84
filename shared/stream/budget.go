package stream

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
)

// burstTime is how much of its rate a budget saves up while no worker asks. Long
// enough that a stalled taker, or a slow fsync of Redis, costs no requests;
// short enough that a provider that counts in windows of a second sees at most
// a fifth more than the limit in one of them. A Per below a second saves up a
// fifth of itself.
const burstTime = time.Second / 5

// Rate is what a source's provider allows the fleet.
type Rate = condition.Rate

// burst is how many requests a budget saves up.
func burst(r Rate) float64 {
	per := r.Per
	if per <= 0 {
		per = time.Second
	}
	return max(1, r.PerSecond()*min(burstTime, per/5).Seconds())
}

// Grant is the answer to Take.
type Grant struct {
	// Tokens granted, 0 to what was asked.
	Tokens int
	// Wait is when to ask again if fewer were granted.
	Wait time.Duration
	// Source is the state, so that every taker learns of a pause. No tokens are
	// granted while paused.
	Source condition.State
}

// Take takes up to n tokens of a source's budget for a class. Higher classes go
// first; each below live has a floor of 5 % of the rate that is its own. The class Command
// goes before all, up to its share of the rate.
func (s *Streams) Take(ctx context.Context, source string, class event.Class, n int, r Rate) (Grant, error) {
	class = min(max(class, event.Command), event.Backfill)
	v, err := run(ctx, s.client, takeScript, "take budget of source "+source,
		[]string{s.keys.source(source), s.keys.budget(source)},
		int(class), n, decimal(r.PerSecond()), decimal(burst(r)), decimal(r.CommandShare()))
	if err != nil {
		return Grant{}, err
	}
	answer := asList(v)
	return Grant{
		Tokens: int(asInt(answer[0])),
		Wait:   time.Duration(asInt(answer[1])) * time.Microsecond,
		Source: sourceState(answer[3:]),
	}, nil
}

// Budget returns how much of what a source's budget can save up is there, 0 to
// 1, for display. Near 0 the fleet asks for more than the rate.
func (s *Streams) Budget(ctx context.Context, source string, r Rate) (float64, error) {
	if r.PerSecond() == 0 {
		return 1, nil
	}
	pipe := s.client.Pipeline()
	kept, clock := pipe.HMGet(ctx, s.keys.budget(source), "at", "main"), pipe.Time(ctx)
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, fmt.Errorf("look at the budget of source %s: %w", source, err)
	}
	at, main := asText(kept.Val()[0]), asText(kept.Val()[1])
	if at == "" {
		return 1, nil // unused for long
	}
	since, _ := strconv.ParseInt(at, 10, 64)  // written by take.lua
	tokens, _ := strconv.ParseFloat(main, 64) // so is this
	tokens += r.PerSecond() * max(0, clock.Val().Sub(time.UnixMicro(since)).Seconds())
	return min(1, max(0, tokens/burst(r))), nil
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
