package simulator

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Chaos is what goes wrong between the world and those who read it. The zero
// value is a provider on its best day. Rates are chances from 0 to 1; a
// duration without its rate, or a rate without its duration, does nothing.
type Chaos struct {
	// Duplicate is the chance that an event is sent twice, the second time
	// after up to MaxDelay.
	Duplicate float64 `json:"duplicate"`
	// Reorder is the chance that an event is held back for up to MaxDelay, so
	// that later ones overtake it.
	Reorder float64 `json:"reorder"`
	// MaxDelay is the longest delay of Duplicate and Reorder.
	MaxDelay Duration `json:"max_delay"`
	// Lose is the chance that an event is never sent.
	Lose float64 `json:"lose"`
	// WrongSignature is the chance that an attempt is signed with another
	// secret. It is retried like any refused one.
	WrongSignature float64 `json:"wrong_signature"`

	// Latency delays every answer of the API by half to one and a half of it.
	Latency Duration `json:"latency"`
	// RateLimit is a token bucket over the whole API, requests per second; what
	// exceeds it is answered 429. 0: no limit.
	RateLimit float64 `json:"rate_limit"`
	// TooMany is the chance of a 429 whatever the rate.
	TooMany float64 `json:"too_many"`
	// RetryAfter is what a 429 says in Retry-After, in whole seconds, rounded
	// up. 0: 1 s.
	RetryAfter Duration `json:"retry_after"`
	// ServerError is the chance of a 500, 502 or 503.
	ServerError float64 `json:"server_error"`
	// Hang is the chance that a request is not answered for HangFor and then
	// cut off. HangFor 0: 30 s.
	Hang    float64  `json:"hang"`
	HangFor Duration `json:"hang_for"`
	// NotFound is the chance that an entity cannot be found by its id during
	// the first NotFoundFor of its life. It is drawn per entity.
	NotFound    float64  `json:"not_found"`
	NotFoundFor Duration `json:"not_found_for"`
	// Stale is the chance that an entity is shown as it was some time ago, up
	// to StaleFor.
	Stale    float64  `json:"stale"`
	StaleFor Duration `json:"stale_for"`
	// Outage answers the whole API in one way: "401", "403", "404", "429",
	// "500", "502", "503" in the provider's shape, "not-provider" (404 in
	// another's), "redirect", or "down" (connections are cut).
	Outage string `json:"outage,omitempty"`
	// Entities answers single ones with a status: {"order/bord_1": 403}. In a world of
	// Stripe "dispute/*" is the list and every entity of a kind.
	Entities map[string]int `json:"entities,omitempty"`

	// ErrorBody is the chance that an answer to a GET has status 200 and another
	// body than the one asked for: {"ok":false,…}, {}, nothing, or HTML.
	ErrorBody float64 `json:"error_body"`
	// Cut is the chance that an answer to a GET ends in the middle: with the
	// length of what is left of it, with the length of the whole, or by the
	// connection being reset.
	Cut float64 `json:"cut"`
	// Trickle is the chance that an answer to a GET comes in small pieces, spread
	// over TrickleFor.
	Trickle    float64  `json:"trickle"`
	TrickleFor Duration `json:"trickle_for"`
	// Gone is the chance that an entity that is not to be found any more where it
	// was once is answered with 410 in place of 404. It is drawn per entity.
	Gone float64 `json:"gone"`
	// Locked is the chance that an entity is locked for LockedFor: a GET of it is
	// answered 429 with a Retry-After, 423 or 409. Time is divided into spells of
	// that length, and the chance is drawn per entity and spell.
	Locked    float64  `json:"locked"`
	LockedFor Duration `json:"locked_for"`
	// BadPages is the chance that the pages of a list after its first are
	// refused for BadPagesFor: by 500, by 422, or by 400 since the cursor has run
	// out. It is drawn per list and spell of that length.
	BadPages    float64  `json:"bad_pages"`
	BadPagesFor Duration `json:"bad_pages_for"`
	// Endless is the chance that the last page of a list comes again and again
	// for EndlessFor, each time with a cursor of its own. Of lists that are one
	// entity only its cursor does. It is drawn per list and spell of that length.
	Endless    float64  `json:"endless"`
	EndlessFor Duration `json:"endless_for"`
	// Oversized is the share of events whose element in the list of events is as
	// long as a webhook may be: 200 in a row, so that a page of 100 of them is
	// longer than 16 MiB.
	Oversized float64 `json:"oversized"`

	// Future is the share of events that are dated FutureFor ahead, half to one
	// and a half of it, or in year 9999, both in their webhook and in the list.
	Future    float64  `json:"future"`
	FutureFor Duration `json:"future_for"`
	// OddTimes is the share of events whose time is written in another way, in
	// their webhook and in the list: in lower case, with an offset or a leap
	// second; or in one that RFC 3339 does not know, or of a year that no
	// timestamp in UTC can hold.
	OddTimes float64 `json:"odd_times"`
	// HalfPairs is the share of events that have half a surrogate pair in a field
	// which no definition knows.
	HalfPairs float64 `json:"half_pairs"`
	// OtherBody is the chance that an event is sent once more with another body,
	// after up to MaxDelay.
	OtherBody float64 `json:"other_body"`
	// TestMode is the chance that an event of Stripe is followed by one of test mode
	// about an object of test mode, after up to MaxDelay. No list has either.
	TestMode float64 `json:"test_mode"`
	// DoubledSignature is the chance that an attempt carries its signature twice:
	// in two headers, or in one that a proxy has joined.
	DoubledSignature float64 `json:"doubled_signature"`

	// ErrorBefore is the chance that a request which is to change something is answered
	// 500 without any effect. Stripe keeps that answer under the request's key.
	ErrorBefore float64 `json:"error_before"`
	// LoseAnswer is the chance that such a request has its effect and is never answered:
	// after HangFor it is cut off. HangFor 0: 30 s.
	LoseAnswer float64 `json:"lose_answer"`
	// ResetAnswer is the chance that it has its effect and the connection is reset.
	ResetAnswer float64 `json:"reset_answer"`
	// ErrorAfter is the chance that it has its effect and is answered 500. Stripe keeps
	// that answer under the request's key; lemon keeps the one there should have been.
	ErrorAfter float64 `json:"error_after"`
	// SlowAnswer is the chance that it has its effect and is answered after SlowFor.
	// Until then its key is in use.
	SlowAnswer float64  `json:"slow_answer"`
	SlowFor    Duration `json:"slow_for"`
}

// Duration is a time.Duration that reads and writes as text: "1.5s".
type Duration time.Duration

// MarshalText writes it like time.Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

var outages = map[string]bool{
	"": true, "401": true, "403": true, "404": true, "429": true, "500": true, "502": true, "503": true,
	"not-provider": true, "redirect": true, "down": true,
}

// Check reports the first setting that makes no sense.
func (c *Chaos) Check() error {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("json")
		switch f := v.Field(i).Interface().(type) {
		case float64:
			if f < 0 || (f > 1 && name != "rate_limit") {
				return fmt.Errorf("%s: %v is not a chance from 0 to 1", name, f)
			}
		case Duration:
			if f < 0 {
				return fmt.Errorf("%s: %v is negative", name, time.Duration(f))
			}
		}
	}
	if !outages[c.Outage] {
		return fmt.Errorf("outage: %q is none of the known ones", c.Outage)
	}
	for key, status := range c.Entities {
		if kind, _, ok := strings.Cut(key, "/"); !ok || !isKind(kind) {
			return fmt.Errorf("entities: %q is not kind/id", key)
		}
		if status < 400 || status > 599 {
			return fmt.Errorf("entities: status %d of %q is no error", status, key)
		}
	}
	return nil
}

// ReadChaos reads settings as JSON on top of those given: what is not named
// stays. Unknown names are errors.
func ReadChaos(r io.Reader, base Chaos) (Chaos, error) {
	in := json.NewDecoder(r)
	in.DisallowUnknownFields()
	base.Entities = nil // replaced, not merged: a map could never lose a key
	if err := in.Decode(&base); err != nil {
		return Chaos{}, fmt.Errorf("chaos settings: %w", err)
	}
	if err := base.Check(); err != nil {
		return Chaos{}, fmt.Errorf("chaos settings: %w", err)
	}
	return base, nil
}

// chaos holds the settings in force and the dice they are played with.
type chaos struct {
	dialect  *dialect
	settings atomic.Pointer[Chaos]
	seed     uint64
	mu       sync.Mutex
	rng      *rand.Rand
	tokens   float64 // of RateLimit
	filled   time.Time
}

func newChaos(c Chaos, seed uint64, d *dialect) *chaos {
	// A stream of its own: what goes wrong must not change what is true.
	x := &chaos{dialect: d, seed: seed, rng: rand.New(rand.NewPCG(seed, 1))}
	x.settings.Store(&c)
	return x
}

func (x *chaos) now() *Chaos { return x.settings.Load() }

// hit draws once against a chance.
func (x *chaos) hit(chance float64) bool {
	if chance <= 0 {
		return false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.rng.Float64() < chance
}

// upTo draws a duration from 0 to d.
func (x *chaos) upTo(d Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return time.Duration(x.rng.Int64N(int64(d) + 1))
}

// take takes one token of the bucket: a second's worth is its size.
func (x *chaos) take(rate float64, now time.Time) bool {
	if rate <= 0 {
		return true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.filled.IsZero() {
		x.tokens = rate
	} else {
		x.tokens = min(max(rate, 1), x.tokens+now.Sub(x.filled).Seconds()*rate)
	}
	x.filled = now
	if x.tokens < 1 {
		return false
	}
	x.tokens--
	return true
}

// hides reports whether a young entity cannot be found yet. The draw is made
// of its id, so that it does not flicker.
func (x *chaos) hides(e *entity, now time.Time) bool {
	c := x.now()
	return now.Sub(e.born) < time.Duration(c.NotFoundFor) && x.falls("hide", e.id, c.NotFound)
}

// lot returns dice that fall the same whenever they are taken for the same thing.
func (x *chaos) lot(what, name string) *rand.Rand {
	return rand.New(rand.NewPCG(x.seed^hashOf(what), hashOf(name)))
}

// falls draws against a chance, always the same for the same thing.
func (x *chaos) falls(what, name string, chance float64) bool {
	return chance > 0 && x.lot(what, name).Float64() < chance
}

// spell divides time into spells of a length and draws for each of them whether
// it affects something. It returns the dice of the spell that now is in and how
// long that lasts still, or nil dice.
func (x *chaos) spell(what, name string, chance float64, length Duration, now time.Time) (*rand.Rand, time.Duration) {
	if chance <= 0 || length <= 0 {
		return nil, 0
	}
	at := now.UnixNano()
	dice := x.lot(what, name+"/"+strconv.FormatInt(at/int64(length), 10))
	if dice.Float64() >= chance {
		return nil, 0
	}
	return dice, time.Duration(int64(length) - at%int64(length))
}

// seen is the version of an entity that a reader is shown.
func (x *chaos) seen(e *entity, now time.Time) *version {
	c := x.now()
	if c.StaleFor <= 0 || now.Sub(e.current().At) >= time.Duration(c.StaleFor) || !x.hit(c.Stale) {
		return e.current()
	}
	return e.asOf(now.Add(-x.upTo(c.StaleFor)))
}

// wholeSeconds writes a duration as Retry-After does: rounded up, at least 1.
func wholeSeconds(d time.Duration) string {
	return strconv.Itoa(max(1, int((d+time.Second-1)/time.Second)))
}
