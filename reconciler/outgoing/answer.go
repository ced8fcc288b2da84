package outgoing

import (
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Outcome is what an answer means.
type Outcome string

// The outcomes. The package comment says which answer is which.
const (
	Accepted  Outcome = "accepted"
	Refused   Outcome = "refused"
	Throttled Outcome = "throttled"
	Away      Outcome = "away"
	Ended     Outcome = "ended"
)

// Outcomes returns all outcomes.
func Outcomes() []Outcome { return []Outcome{Accepted, Refused, Throttled, Away, Ended} }

// Answer is what came of a message.
type Answer struct {
	Outcome Outcome
	// Status is the HTTP status. 0: none came.
	Status int
	// RetryAfter is how long the receiver asks to be left alone, at most an hour. 0: it
	// does not say.
	RetryAfter time.Duration
	// Err says why it was not accepted. Nil: it was.
	Err error
}

// longestRetryAfter bounds what a receiver may ask for, so that one mistake does not end
// all deliveries.
const longestRetryAfter = time.Hour

func answerOf(res *http.Response, now time.Time) Answer {
	a := Answer{Outcome: Refused, Status: res.StatusCode, RetryAfter: retryAfter(res.Header.Get("Retry-After"), now)}
	switch s := res.StatusCode; {
	case s >= 200 && s < 300:
		return Answer{Outcome: Accepted, Status: s}
	case s == http.StatusGone:
		a.Outcome = Ended
	case s == http.StatusTooManyRequests, s == http.StatusServiceUnavailable && a.RetryAfter > 0:
		a.Outcome = Throttled
	case s == http.StatusBadGateway, s == http.StatusServiceUnavailable, s == http.StatusGatewayTimeout:
		a.Outcome = Away
	case s >= 300 && s < 400:
		a.Err = fmt.Errorf("the receiver answered %d: redirects are not followed", s)
		return a
	}
	a.Err = fmt.Errorf("the receiver answered %d", a.Status)
	return a
}

// retryAfter reads RFC 9110 section 10.2.3: seconds, or a date. 0 if it says neither.
func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return min(time.Duration(min(n, uint64(longestRetryAfter/time.Second)))*time.Second, longestRetryAfter) //nolint:gosec // at most an hour
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), longestRetryAfter)
}
