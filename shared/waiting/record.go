package waiting

import (
	"encoding/json"
	"time"
)

// Reason is why an entity waits.
type Reason string

// The reasons.
const (
	// Failed: an attempt failed and was counted; the next follows after a back-off.
	Failed Reason = "failed"
	// NotFound: the provider says that it has no such entity, which the mirror has. It is
	// asked again before the mirror says so too.
	NotFound Reason = "not_found"
	// NeverSeen: the provider says that it has no such entity, and no answer of the
	// provider has ever shown it. It may be too new to be read, or never have existed.
	NeverSeen Reason = "never_seen"
	// Throttled: this entity alone is answered 429.
	Throttled Reason = "throttled"
	// Undefined: the definition of the worker has no such kind.
	Undefined Reason = "undefined"
	// Refused: our key may not read the kind.
	Refused Reason = "refused"
	// Unsettled: the entity was fetched, and the store refuses to settle its events.
	Unsettled Reason = "unsettled"
	// Backlog: it has not failed. More is in flight than a worker keeps in memory.
	Backlog Reason = "backlog"
)

// Reasons returns all reasons.
func Reasons() []Reason {
	return []Reason{Failed, NotFound, NeverSeen, Throttled, Undefined, Refused, Unsettled, Backlog}
}

// Why is the latest failure of a parked entity, counted as an attempt or not.
type Why struct {
	Reason Reason `json:"reason"`
	// Class is the class of the error (see package fate).
	Class string    `json:"class"`
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// Attempt is a failed attempt with its number since the entity was parked, so that
// each entry's own attempts can be found.
type Attempt struct {
	N     int       `json:"n"`
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// KeptAttempts is how many attempts a record keeps, the newest.
const KeptAttempts = 50

// Record is what is kept in Redis of a parked entity that failed.
type Record struct {
	// Why is the latest failure. Nil if an older version wrote the record.
	Why *Why `json:"why,omitempty"`
	// Attempts are the failed ones that were counted, oldest first, the last 50.
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

// Add notes a failed attempt.
func (r *Record) Add(a Attempt) {
	r.Attempts = append(r.Attempts, a)
	if over := len(r.Attempts) - KeptAttempts; over > 0 {
		r.Attempts = r.Attempts[over:]
	}
}

// Encode returns the record as kept in Redis, in at most so many bytes: without the
// oldest attempts if all are more, for a text may grow sixfold as JSON.
func (r Record) Encode(most int) []byte {
	for {
		b, _ := json.Marshal(r) // times and strings always encode
		if len(b) <= most || len(r.Attempts) == 0 {
			return b
		}
		r.Attempts = r.Attempts[1:]
	}
}

// Decode reads what Encode returned. Nothing decodes to an empty record.
func Decode(b []byte) (r Record, err error) {
	if len(b) > 0 {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

// Latest returns why an entity with this record waits. Without Why that is its last
// attempt, of an unknown class.
func (r *Record) Latest() Why {
	if r.Why != nil {
		return *r.Why
	}
	w := Why{Reason: Failed}
	if n := len(r.Attempts); n > 0 {
		w.At, w.Error = r.Attempts[n-1].At, r.Attempts[n-1].Error
	}
	return w
}
