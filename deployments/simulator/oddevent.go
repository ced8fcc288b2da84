package simulator

import (
	"bytes"
	"encoding/json"
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
func (x *chaos) told(n *notice, thin bool) json.RawMessage {
	c := x.now()
	body := n.Body
	switch {
	case thin:
		body = x.dialect.thinEvent(x.dialect.kind(n.Context[aboutKind]), n)
	case c.FutureFor > 0 && x.falls("future", n.ID, c.Future):
		body = x.dated(body, n, x.dialect.futureTime(x.lot("future time", n.ID), n.CreatedAt, time.Duration(c.FutureFor)))
	case x.falls("odd time", n.ID, c.OddTimes):
		odd := x.dialect.oddTimes[x.lot("which odd time", n.ID).IntN(len(x.dialect.oddTimes))]
		body = x.dated(body, n, odd(n.CreatedAt))
	}
	if x.falls("half pair", n.ID, c.HalfPairs) {
		body = withMember(body, `"note":"Ann \ud83d"`)
	}
	return body
}

// listed is the body of an event as the list of events has it.
func (x *chaos) listed(n *notice) json.RawMessage {
	body := x.told(n, false)
	if x.falls("oversized", strconv.FormatInt(n.Seq/longRow, 10), x.now().Oversized) {
		body = withMember(body, longMember)
	}
	return body
}

var longMember = `"padding":"` + strings.Repeat("x", longEvent) + `"`

// dated replaces the time of an event.
func (x *chaos) dated(body json.RawMessage, n *notice, at string) json.RawMessage {
	return bytes.Replace(body, []byte(x.dialect.eventTime(n.CreatedAt)), []byte(at), 1)
}

// withMember adds a member to an object that has some.
func withMember(object json.RawMessage, member string) json.RawMessage {
	return append(append(bytes.Clone(object[:len(object)-1]), ','), member+"}"...)
}
