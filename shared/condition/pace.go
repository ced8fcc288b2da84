package condition

import (
	"sync"
	"time"
)

// Rate is how often a source may be asked.
type Rate struct {
	// Limit is how many requests each Per. Limit 0: unlimited.
	Limit int
	// Per is the time Limit is for. Defaults to 1 s.
	Per time.Duration
	// Commands is the share of it that changes at the provider may take before everything
	// else, above 0 and up to 1. Defaults to 0.5.
	Commands float64
}

// CommandShare is Commands or its default.
func (r Rate) CommandShare() float64 {
	if r.Commands <= 0 || r.Commands > 1 {
		return 0.5
	}
	return r.Commands
}

// PerSecond is how many requests a second that is. 0: unlimited.
func (r Rate) PerSecond() float64 { return float64(max(r.Limit, 0)) / r.per().Seconds() }

func (r Rate) per() time.Duration {
	if r.Per <= 0 {
		return time.Second
	}
	return r.Per
}

const (
	// slower is what is left of the share at each refusal, faster what comes
	// back of it each second, least where it ends.
	slower, faster, least = 0.7, 0.05, 0.1
)

// Pace is how much of the configured rate is asked for, learned from the provider.
// Each 429 that paused the source takes some of it, in every worker, since all of
// them see the pause; then it comes back bit by bit. So a rate that is set too high
// ends near the one that the provider allows, instead of running into a refusal
// every second. The zero value is the whole rate.
type Pace struct {
	mu    sync.Mutex
	taken float64   // share of the rate, as it was at
	at    time.Time // then
}

// Refused takes some of the rate.
func (p *Pace) Refused(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken, p.at = 1-max(least, slower*p.share(now)), now
}

func (p *Pace) share(now time.Time) float64 {
	return min(1, 1-p.taken+faster*now.Sub(p.at).Seconds())
}

// Share is the share of the rate that may be asked for: 0.1 to 1.
func (p *Pace) Share(now time.Time) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.share(now)
}

// Of returns what to ask for of the configured rate. told is what the provider says
// that it allows until it counts from zero again, if that is less. Zero: it does not say.
func (p *Pace) Of(configured, told Rate, now time.Time) Rate {
	r := configured.scaled(p.Share(now))
	if told.slowerThan(r) {
		told.Commands = configured.Commands
		return told
	}
	return r
}

// scaled returns a share of a rate: the same number in a longer time, as a
// limit of one cannot be divided.
func (r Rate) scaled(share float64) Rate {
	if r.Limit == 0 || share == 1 {
		return r
	}
	r.Per = time.Duration(float64(r.per()) / share)
	return r
}

func (r Rate) slowerThan(other Rate) bool {
	if r.Per <= 0 || other.Limit == 0 {
		return r.Per > 0 // unlimited is faster than any
	}
	return r.PerSecond() < other.PerSecond()
}
