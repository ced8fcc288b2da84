package worker

import (
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
)

// Rated is a Fetcher that knows what the provider says is left of its limit;
// *provider.Client is one.
type Rated interface {
	// Allowance returns what is left. False: the provider does not say.
	Allowance() (provider.Allowance, bool)
}

const (
	// slower is what is left of the share at each refusal, faster what comes
	// back of it each second, least where it ends.
	slower, faster, least = 0.7, 0.05, 0.1
)

// pace is how much of the configured rate is asked for, learned from the
// provider. Each 429 that paused the source takes some of it for all workers,
// since all of them see the pause; then it comes back bit by bit. So a rate
// that is set too high ends near the one the provider stands, instead of
// running into a refusal every second. What rate headers say goes before.
type pace struct {
	mu    sync.Mutex
	share float64   // of the rate, as it was at
	at    time.Time // then
}

func newPace() *pace { return &pace{share: 1} }

// refused takes some of the rate.
func (p *pace) refused(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.share, p.at = max(least, slower*p.grown(now)), now
}

func (p *pace) grown(now time.Time) float64 {
	return min(1, p.share+faster*now.Sub(p.at).Seconds())
}

// now is the share of the rate that may be asked for.
func (p *pace) now(now time.Time) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.grown(now)
}

// of returns what to ask for of the configured rate.
func (p *pace) of(r stream.Rate, client Fetcher, now time.Time) stream.Rate {
	r = scaled(r, p.now(now))
	rated, ok := client.(Rated)
	if !ok {
		return r
	}
	left, ok := rated.Allowance()
	if !ok || left.Remaining == 0 {
		return r // nothing left pauses the source
	}
	if told := (stream.Rate{Limit: left.Remaining, Per: left.Until(now)}); slowerThan(told, r) {
		return told
	}
	return r
}

// scaled returns a share of a rate: the same number in a longer time, as a
// limit of one cannot be divided.
func scaled(r stream.Rate, share float64) stream.Rate {
	if r.Limit == 0 || share == 1 {
		return r
	}
	if r.Per <= 0 {
		r.Per = time.Second
	}
	r.Per = time.Duration(float64(r.Per) / share)
	return r
}

func slowerThan(a, b stream.Rate) bool {
	if a.Per <= 0 || b.Limit == 0 {
		return a.Per > 0 // unlimited is faster than any
	}
	if b.Per <= 0 {
		b.Per = time.Second
	}
	return float64(a.Limit)/a.Per.Seconds() < float64(b.Limit)/b.Per.Seconds()
}
