package fate

import (
	"math"
	"math/rand/v2"
	"time"
)

// Backoff is the pause between attempts: First, then Factor times as long
// each time, at most Cap, spread by Jitter.
type Backoff struct {
	// First is the pause after the first failed attempt. Defaults to 1 minute.
	First time.Duration
	// Factor is what each further pause is multiplied by. Defaults to 2.
	Factor float64
	// Cap is the longest pause. Defaults to 1 hour.
	Cap time.Duration
	// Attempts is how many attempts work gets before it is buried. Defaults to 10.
	Attempts int
	// Jitter spreads a pause by this share of it, both ways, so that work that
	// failed together does not come back together. Defaults to 0.1.
	Jitter float64
}

// WithDefaults returns b with its zero fields set.
func (b Backoff) WithDefaults() Backoff {
	if b.First <= 0 {
		b.First = time.Minute
	}
	if b.Factor < 1 {
		b.Factor = 2
	}
	if b.Cap <= 0 {
		b.Cap = time.Hour
	}
	if b.Attempts <= 0 {
		b.Attempts = 10
	}
	if b.Jitter <= 0 {
		b.Jitter = 0.1
	}
	return b
}

// After returns the pause after the given number of failed attempts (1 or
// more). retryAfter, what the other side asked for, is a lower bound.
func (b Backoff) After(failed int, retryAfter time.Duration) time.Duration {
	return b.Spread(failed, retryAfter, rand.Float64())
}

// Spread returns what After does, with the jitter by random: a number from 0 to 1,
// without 1.
func (b Backoff) Spread(failed int, retryAfter time.Duration, random float64) time.Duration {
	exp := math.Pow(b.Factor, float64(max(failed, 1)-1))
	d := min(float64(b.First)*exp, float64(b.Cap))
	d *= 1 + b.Jitter*(2*random-1)
	return max(time.Duration(d), retryAfter)
}
