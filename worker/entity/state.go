package entity

import (
	"encoding/json"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Parked is a parked entity without its entries.
type Parked struct {
	// Len is how many entries a sync is for, Attempt how many charged attempts have
	// failed since the entity was parked.
	Len, Attempt int
	State        State
	// Failed reports whether the entity is parked for a failure, not spilled.
	Failed bool
}

// State is what is kept in Redis of a parked entity that failed.
type State struct {
	// Attempts are the failed ones, oldest first, the last 50.
	Attempts []Attempt `json:"attempts,omitempty"`
	// GoneSince is when, by Redis' clock, the provider first said it has no such
	// entity, GoneClaim what had been synced of it then: once that has moved, the
	// entity was there in between.
	GoneSince time.Time `json:"gone_since,omitzero"`
	GoneClaim int64     `json:"gone_claim,omitempty"`
	// GoneUnder are the parents under which it was asked for then.
	GoneUnder []map[string]string `json:"gone_under,omitempty"`
	// Throttled is how often in a row the entity was answered 429 though others
	// were not.
	Throttled int `json:"throttled,omitempty"`
	// Refused is how often the store has refused to settle what is parked.
	Refused int `json:"refused,omitempty"`
}

// Attempt is a failed attempt with its number since the entity was parked, so that
// each entry's own attempts can be found.
type Attempt struct {
	N     int       `json:"n"`
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

const (
	keptAttempts = 50
	// longestError is how much of an error's text is kept, in bytes, and
	// longestStack how much of a panic's, which is never parked.
	longestError, longestStack = 1000, 8000
)

// add notes a failed attempt.
func (p *State) add(a Attempt) {
	p.Attempts = append(p.Attempts, a)
	if over := len(p.Attempts) - keptAttempts; over > 0 {
		p.Attempts = p.Attempts[over:]
	}
}

// Encode returns the state as kept in Redis, in at most so many bytes: without the
// oldest attempts if all are more, for a text may grow sixfold as JSON.
func (p State) Encode(most int) []byte {
	for {
		b, _ := json.Marshal(p) // times and strings always encode
		if len(b) <= most || len(p.Attempts) == 0 {
			return b
		}
		p.Attempts = p.Attempts[1:]
	}
}

// since returns the attempts an entry has been through that came at attempt base.
func (p State) since(base int) []storage.Attempt {
	var out []storage.Attempt
	for _, t := range p.Attempts {
		if t.N > base {
			out = append(out, storage.Attempt{At: t.At, Error: t.Error})
		}
	}
	return out
}

// Text is an error's text, cut to what is kept of it.
func Text(err error) string { return fate.Short(err.Error(), longestError) }

// lastText is the text of the error that ended work: a panic's with its stack.
func lastText(class fate.Class, err error) string {
	if class == fate.Panic {
		return fate.Short(err.Error(), longestStack)
	}
	return Text(err)
}
