package simulator

import (
	"encoding/json"
	"math/rand/v2"
	"time"
)

// envelope is the body of an event.
type envelope struct {
	ID        string            `json:"id"`
	Type      string            `json:"type"`
	CreatedAt string            `json:"created_at"`
	Context   map[string]string `json:"context"`
}

// writeLemonEvent writes the context that the type of an event has, and nothing of
// the entity but its ids.
func writeLemonEvent(c *change, n *notice, _ *entity, link func(word string) string) {
	n.Context = map[string]string{}
	for _, key := range contextKeys(n.Type) {
		if id := link(key); id != "" {
			n.Context[key] = id
		}
	}
	n.Body = c.encode(envelope{n.ID, n.Type, stamp(n.CreatedAt), n.Context})
}

func readLemonEvent(text json.RawMessage) (*notice, error) {
	var body envelope
	if err := json.Unmarshal(text, &body); err != nil {
		return nil, err
	}
	at, err := time.Parse(timeLayout, body.CreatedAt)
	if err != nil {
		return nil, err
	}
	return &notice{ID: body.ID, Type: body.Type, CreatedAt: at.UTC(), Context: body.Context}, nil
}

// lemonFuture is a time that has not come, as JSON.
func lemonFuture(dice *rand.Rand, at time.Time, ahead time.Duration) string {
	if dice.IntN(4) == 0 {
		return `"9999-12-31T23:59:59Z"`
	}
	return `"` + stamp(at.Add(ahead/2+time.Duration(dice.Int64N(int64(ahead)+1)))) + `"`
}

// lemonOddTimes write a time in ways that are not the provider's usual one, as JSON.
// The first four are RFC 3339.
var lemonOddTimes = []func(time.Time) string{
	func(t time.Time) string { return t.UTC().Format(`"2006-01-02t15:04:05.000000z"`) },
	func(t time.Time) string { return t.In(time.FixedZone("", 19800)).Format(`"` + timeLayout + `"`) },
	func(t time.Time) string { return t.UTC().Format(`"2006-01-02T15:04:60Z"`) },
	func(t time.Time) string { return t.UTC().Format(`"2006-01-02 15:04:05Z"`) },
	func(t time.Time) string { return t.UTC().Format(`"2006-01-02T15:04:05+0000"`) },
	func(time.Time) string { return `"9999-12-31T23:59:59-01:00"` },
	func(time.Time) string { return `"0000-01-01T00:00:00+01:00"` },
	func(time.Time) string { return `null` },
}
