package provider

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Allowance is the rest of a provider's rate limit, as its headers say.
type Allowance struct {
	// Remaining is how many requests are left until Reset. 0: none.
	Remaining int
	// Reset is when the provider's window begins again, by our clock.
	Reset time.Time
}

// Until is the time left until Reset. 0 or less: Reset has passed.
func (a Allowance) Until(now time.Time) time.Duration { return a.Reset.Sub(now) }

// Allowance returns what is left of the rate limit, by the last answer with rate
// headers. False: no answer had any, the definition names none, or Reset has
// passed since.
func (c *Client) Allowance() (Allowance, bool) {
	a := c.allowance.Load()
	if a == nil || a.Until(c.opts.Now()) <= 0 {
		return Allowance{}, false
	}
	return *a, true
}

// heed keeps what an answer says of the rate limit.
func (c *Client) heed(res *http.Response) {
	if a, ok := c.left(res); ok {
		c.allowance.Store(&a)
	}
	if c.clock != nil {
		c.clock.hear(res.Header.Get("Date"), c.opts.Now())
	}
}

// left returns what one answer says of the rate limit.
func (c *Client) left(res *http.Response) (Allowance, bool) {
	read := rateStyles[c.def.api.rateHeaders]
	if read == nil {
		return Allowance{}, false
	}
	now := c.opts.Now()
	remaining, reset, ok := read(res.Header, now)
	return Allowance{Remaining: remaining, Reset: now.Add(min(reset, maxRetryAfter))}, ok
}

// noRateHeaders is the style of a provider that says nothing before it refuses.
const noRateHeaders = "none"

// rateStyles read what is left of a rate limit, and for how long, from an
// answer's headers. By the name a definition gives.
var rateStyles = map[string]func(http.Header, time.Time) (remaining int, reset time.Duration, ok bool){
	noRateHeaders: nil,
	// X-RateLimit-Remaining and X-RateLimit-Reset, as many APIs send them. No
	// document says what Reset is: some mean seconds to go, some Unix time.
	"x-ratelimit": func(h http.Header, now time.Time) (int, time.Duration, bool) {
		return pairOf(h, "X-RateLimit-Remaining", "X-RateLimit-Reset", now)
	},
	// draft-ietf-httpapi-ratelimit-headers: RateLimit-Remaining and
	// RateLimit-Reset in seconds to go (up to draft 06), or both in one field:
	// RateLimit: limit=100, remaining=50, reset=30 (draft 07), or
	// RateLimit: "default";r=50;t=30 (from draft 08 on).
	"ratelimit": func(h http.Header, now time.Time) (int, time.Duration, bool) {
		one := h.Get("RateLimit")
		if remaining, reset, ok := tightest(one); ok {
			return remaining, reset, true
		}
		if remaining, reset, ok := draft7(one); ok {
			return remaining, reset, true
		}
		return pairOf(h, "RateLimit-Remaining", "RateLimit-Reset", now)
	},
}

// unixFrom separates Unix times from seconds to go: no window is thirty years long.
const unixFrom = 1_000_000_000

func pairOf(h http.Header, remaining, reset string, now time.Time) (int, time.Duration, bool) {
	left, ok := count(h.Get(remaining))
	until, told := count(h.Get(reset))
	if !ok || !told {
		return 0, 0, false
	}
	if until >= unixFrom {
		return left, max(0, time.Unix(int64(until), 0).Sub(now)), true
	}
	return left, seconds(until), true
}

// tightest reads a RateLimit field: a list of policies, of which the one with
// the least left counts.
func tightest(field string) (remaining int, reset time.Duration, ok bool) {
	for _, policy := range strings.Split(field, ",") {
		left, until := -1, -1
		for _, parameter := range strings.Split(policy, ";")[1:] {
			name, value, _ := strings.Cut(strings.TrimSpace(parameter), "=")
			n, isCount := count(value)
			switch {
			case isCount && name == "r":
				left = n
			case isCount && name == "t":
				until = n
			}
		}
		if left >= 0 && until >= 0 && (!ok || left < remaining) {
			remaining, reset, ok = left, seconds(until), true
		}
	}
	return remaining, reset, ok
}

// draft7 reads a RateLimit field of one policy: limit=100, remaining=50, reset=30.
func draft7(field string) (remaining int, reset time.Duration, ok bool) {
	left, until := -1, -1
	for _, member := range strings.Split(field, ",") {
		value, _, _ := strings.Cut(member, ";")
		name, value, _ := strings.Cut(strings.TrimSpace(value), "=")
		switch n, isCount := count(value); {
		case isCount && name == "remaining":
			left = n
		case isCount && name == "reset":
			until = n
		}
	}
	return left, seconds(until), left >= 0 && until >= 0
}

// count reads a number that is not negative; large enough for a Unix time. Decimals are
// left out.
func count(s string) (int, bool) {
	n, ok := decimal(strings.TrimSpace(s))
	return int(n), ok && n < 1<<40
}

// decimal reads digits, and perhaps a point and more digits.
func decimal(s string) (float64, bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if !isDigits(whole) || strings.Contains(s, ".") && !isDigits(decimals) {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil
}

func isDigits(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// seconds is a number of them as a time to wait, however absurd the number.
func seconds(n int) time.Duration {
	return min(time.Duration(min(n, unixFrom))*time.Second, maxRetryAfter)
}
