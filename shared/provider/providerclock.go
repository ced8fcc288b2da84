package provider

import (
	"net/http"
	"sync"
	"time"
)

// providerClock knows how far a provider's clock is ahead of ours at least, from the
// header Date of its answers. Safe for concurrent use.
type providerClock struct {
	mu    sync.Mutex
	ahead time.Duration
	known bool
}

// hear notes the time in an answer that came at a time of ours.
// The provider wrote it before, and left out what is below a second, so that its
// clock is at least that time minus the time at which we had the answer ahead of ours.
// The last answer counts, since clocks are set right.
func (c *providerClock) hear(date string, received time.Time) {
	at, err := http.ParseTime(date)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead, c.known = at.Sub(received), true
}

// ProviderTime returns the earliest time that the provider's clock can have shown at a
// time of ours, and whether that is known: some answer must have had a date,
// that of Probe will do. It is at most two seconds early, if answers come within one.
func (w *Writer) ProviderTime(at time.Time) (time.Time, bool) {
	c := w.client.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	return at.Add(c.ahead), c.known
}
