package simulator

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// disturb lets chaos answer first. It reports whether the API may still.
func (a *api) disturb(w *recorder, r *http.Request) bool {
	c := a.chaos.now()
	if c.Latency > 0 && !pause(r.Context(), time.Duration(c.Latency)/2+a.chaos.upTo(c.Latency)) {
		return false
	}
	switch {
	case c.Outage != "":
		a.fail(w, r, c)
	case !a.chaos.take(c.RateLimit, time.Now()) || a.chaos.hit(c.TooMany):
		a.refuse(w, a.dialect.tooMany(a))
	case a.chaos.hit(c.ServerError):
		status := []int{500, 502, 503}[a.chaos.upTo(2)]
		a.refuse(w, refuse(status, http.StatusText(status)))
	case a.chaos.hit(c.Hang):
		wait := time.Duration(c.HangFor)
		if wait == 0 {
			wait = 30 * time.Second
		}
		if pause(r.Context(), wait) {
			panic(http.ErrAbortHandler)
		}
	default:
		return true
	}
	return false
}

// fail answers as the outage in force says.
func (a *api) fail(w *recorder, r *http.Request, c *Chaos) {
	switch c.Outage {
	case "down":
		panic(http.ErrAbortHandler)
	case "not-provider":
		http.Error(w, "404 page not found", http.StatusNotFound)
	case "redirect":
		http.Redirect(w, r, "https://elsewhere.example.com"+r.URL.Path, http.StatusFound)
	default:
		status, _ := strconv.Atoi(c.Outage) // Check let only numbers and the words above in
		refused := refuse(status, http.StatusText(status))
		if status == http.StatusTooManyRequests {
			refused = a.dialect.tooMany(a)
			refused.Message = http.StatusText(status)
		}
		a.refuse(w, refused)
	}
}

// pause waits and reports whether the client is still there.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
