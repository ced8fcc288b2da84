package simulator

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

const (
	// longEvent is how many bytes are added to an oversized event: with them it
	// is still legal as a webhook, of which receivers take 256 KiB.
	longEvent = 180 << 10
	// longRow is how many events in a row are oversized: however pages are cut,
	// 100 of them are on one page.
	longRow = 200
)

// told is the body of an event as its webhook has it.
func (x *chaos) told(n *notice) json.RawMessage {
	c := x.now()
	body := n.Body
	switch {
	case c.FutureFor > 0 && x.falls("future", n.ID, c.Future):
		body = dated(body, n, futureTime(x.lot("future time", n.ID), n.CreatedAt, time.Duration(c.FutureFor)))
	case x.falls("odd time", n.ID, c.OddTimes):
		odd := oddTimes[x.lot("which odd time", n.ID).IntN(len(oddTimes))]
		body = dated(body, n, odd(n.CreatedAt))
	}
	if x.falls("half pair", n.ID, c.HalfPairs) {
		body = withMember(body, `"note":"Ann \ud83d"`)
	}
	return body
}

// listed is the body of an event as the list of events has it.
func (x *chaos) listed(n *notice) json.RawMessage {
	body := x.told(n)
	if x.falls("oversized", strconv.FormatInt(n.Seq/longRow, 10), x.now().Oversized) {
		body = withMember(body, longMember)
	}
	return body
}

var longMember = `"padding":"` + strings.Repeat("x", longEvent) + `"`

// dated replaces the time of an event. at is JSON.
func dated(body json.RawMessage, n *notice, at string) json.RawMessage {
	return bytes.Replace(body, []byte(`"`+stamp(n.CreatedAt)+`"`), []byte(at), 1)
}

// withMember adds a member to an object that has some.
func withMember(object json.RawMessage, member string) json.RawMessage {
	return append(append(bytes.Clone(object[:len(object)-1]), ','), member+"}"...)
}

// futureTime is a time that has not come, as JSON.
func futureTime(dice *rand.Rand, at time.Time, ahead time.Duration) string {
	if dice.IntN(4) == 0 {
		return `"9999-12-31T23:59:59Z"`
	}
	return `"` + stamp(at.Add(ahead/2+time.Duration(dice.Int64N(int64(ahead)+1)))) + `"`
}

// oddTimes write a time in ways that are not the provider's usual one, as JSON.
// The first four are RFC 3339.
var oddTimes = []func(time.Time) string{
	func(t time.Time) string { return t.UTC().Format(`"2006-01-02t15:04:05.000000z"`) },
	func(t time.Time) string { return t.In(time.FixedZone("", 19800)).Format(`"` + timeLayout + `"`) },
	func(t time.Time) string { return t.UTC().Format(`"2006-01-02T15:04:60Z"`) },
	func(t time.Time) string { return t.UTC().Format(`"2006-01-02 15:04:05Z"`) },
	func(t time.Time) string { return t.UTC().Format(`"2006-01-02T15:04:05+0000"`) },
	func(time.Time) string { return `"9999-12-31T23:59:59-01:00"` },
	func(time.Time) string { return `"0000-01-01T00:00:00+01:00"` },
	func(time.Time) string { return `null` },
}
