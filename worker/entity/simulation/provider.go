package simulation

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
)

// definition is a provider small enough to see through: widgets have a history,
// gadgets have none, parts are under shops.
const definition = `
provider: acme
signature: {scheme: timestamped-hmac, headers: [Acme-Signature], tolerance: 5m}
envelope: {id: id, type: type, created_at: created_at, time: rfc3339, context: context}
api:
  auth: bearer
  pagination: {style: cursor, items: data, next: pagination.next_cursor, limit: 100}
  errors: message
  probe: /ping
history: {status: status, at: timestamp}
kinds:
  widget:
    get: /widgets/{widget}
    list: /widgets
    history: history
    statuses: [created, made, held, sold]
    terminal: [sold]
    gone_after: {known: 2s, unknown: 4s}
  gadget:
    get: /gadgets/{gadget}
    list: /gadgets
    read_lag: 2s
    verify_after: 3s
    gone_after: {known: 2s, unknown: 4s}
  part:
    get: /shops/{shop}/parts/{part}
    read_lag: 2s
    verify_after: 3s
    gone_after: {known: 2s, unknown: 4s}
events:
  widget: {touches: [widget, "*"], implies: suffix}
  gadget: {touches: [gadget]}
  part: {touches: [part]}
`

var acme = func() *provider.Definition {
	d, err := provider.Parse("acme.yaml", []byte(definition))
	if err != nil {
		panic(err)
	}
	return d
}()

var kinds = []string{"widget", "gadget", "part"}

// errOutage marks what fails because the whole provider does.
var errOutage = errors.New("outage")

// upstream is the provider.
type upstream struct {
	w        *world
	things   []*thing
	byKey    map[event.Key]*thing
	numbers  map[*byte]int // of versions, by their state
	events   int
	accepted []*event.Event
	// acceptedAt is when each of them was.
	acceptedAt []time.Duration
}

// thing is an entity at the provider.
type thing struct {
	index    int
	key      event.Key
	kind     *provider.Kind
	versions []version
	history  []string // JSON of the changes
	shop     int
	told     bool          // an event about it was accepted
	erased   time.Duration // when an operator has erased it, 0: not
	givenUp  bool          // a signal without an event was given up, which leaves no dead letter
}

// version is a state of a thing from a time on.
type version struct {
	number int
	at     time.Duration
	gone   bool
	shop   int
	snap   provider.Snapshot
}

func newUpstream(w *world) *upstream {
	u := &upstream{w: w, byKey: map[event.Key]*thing{}, numbers: map[*byte]int{}}
	for i := range w.plan.Entities {
		kind := kinds[i%len(kinds)]
		t := &thing{index: i, kind: acme.Kind(kind), key: event.Key{Source: "acme", Kind: kind, ID: string(rune('a' + i))}}
		u.things = append(u.things, t)
		u.byKey[t.key] = t
	}
	return u
}

func (u *upstream) of(k event.Key) *thing { return u.byKey[k] }

func (u *upstream) version(raw []byte) int { return u.numbers[&raw[0]] }

func (t *thing) current() version {
	if len(t.versions) == 0 {
		return version{gone: true}
	}
	return t.versions[len(t.versions)-1]
}

func (t *thing) parents() map[string]string {
	if t.kind.Name != "part" {
		return nil
	}
	return map[string]string{"shop": fmt.Sprint("s", t.shop)}
}

func (t *thing) ref() event.Ref { return event.Ref{Key: t.key, Parents: t.parents()} }

// act does a deed and sends its event.
func (u *upstream) act(d Deed) {
	t := u.things[d.Entity]
	what := d.What
	if t.current().gone && len(t.versions) > 0 {
		what = "touched" // what is gone stays so, though events still come
	}
	switch what {
	case "deleted":
		u.change(t, true)
	case "moved":
		t.shop++
		u.change(t, false)
	case "rewritten":
		if n := len(t.history); n > 1 {
			t.history = t.history[:n-1]
			u.change(t, false)
		}
	case "touched":
		if len(t.versions) == 0 { // there is no event of an entity that never was
			u.change(t, false)
		}
	default: // a status
		if t.kind.Name == "widget" {
			t.history = append(t.history, fmt.Sprintf(`{"status":%q,"timestamp":%q}`, what, u.w.wall().Format(time.RFC3339Nano)))
		}
		u.change(t, false)
	}
	if t.kind.Name == "widget" && what == "touched" {
		what = "noted" // which is no status
	}
	u.events++
	e := &event.Event{
		Source: "acme", ID: fmt.Sprint("e", u.events), Type: t.kind.Name + "." + what, CreatedAt: u.w.wall().Truncate(time.Microsecond),
		Entities: []event.Ref{t.ref()}, Payload: []byte("{}"),
	}
	u.w.say("provider: %v is %s (event %s)", t.key, what, e.ID)
	if d.Also >= 0 && d.Also < len(u.things) && d.Also != d.Entity {
		also := u.things[d.Also]
		if len(also.versions) == 0 {
			u.change(also, false)
		}
		e.Entities = append(e.Entities, also.ref())
	}
	u.w.undone++
	u.w.after(u.w.between(0, 20*time.Millisecond), func() { u.w.deliver(e) })
	if u.w.chance(10) { // the provider sends some twice
		u.w.undone++
		u.w.after(u.w.between(0, 5*time.Second), func() { u.w.deliver(e) })
	}
}

// accept notes that an event is not sent again.
func (u *upstream) accept(e *event.Event) {
	u.accepted, u.acceptedAt = append(u.accepted, e), append(u.acceptedAt, u.w.now)
	for _, ref := range e.Entities {
		u.of(ref.Key).told = true
	}
}

// change gives a thing a new state.
func (u *upstream) change(t *thing, gone bool) {
	n := len(t.versions) + 1
	raw := fmt.Sprintf(`{"id":%q,"version":%d}`, t.key.ID, n)
	if t.kind.Name == "widget" {
		raw = fmt.Sprintf(`{"id":%q,"version":%d,"history":[%s]}`, t.key.ID, n, strings.Join(t.history, ","))
	}
	snap, err := acme.Read(t.key.Kind, []byte(raw))
	if err != nil {
		panic(err)
	}
	u.numbers[&snap.Raw[0]] = n
	t.versions = append(t.versions, version{number: n, at: u.w.now, gone: gone, shop: t.shop, snap: *snap})
}

// fetch answers a request.
func (u *upstream) fetch(ref event.Ref, sentAt time.Time) (*provider.Snapshot, error) {
	w, t := u.w, u.of(ref.Key)
	switch {
	case w.happening("provider down"):
		return nil, fmt.Errorf("HTTP 503: %w", errOutage)
	case w.happening("key refused"):
		return nil, fate.New(fate.Refused, fmt.Errorf("HTTP 401: %w", errOutage))
	case w.happening("asked too often"):
		return nil, &fate.Error{Class: fate.Throttled, Status: 429, RetryAfter: 50 * time.Millisecond, Err: errOutage}
	case w.happeningTo("failing", t.index):
		return nil, fate.Errorf(fate.Transient, "HTTP 500")
	case w.happeningTo("throttled", t.index):
		return nil, fate.Errorf(fate.Throttled, "HTTP 429")
	case w.happeningTo("forbidden", t.index):
		return nil, fate.Errorf(fate.Refused, "HTTP 403")
	case w.happeningTo("rejected", t.index):
		return nil, fate.Errorf(fate.Permanent, "HTTP 400")
	}
	seen := w.now
	if w.plan.Stale > 0 && !w.calm && w.chance(2) {
		seen -= w.between(0, w.plan.Stale)
	}
	for i := len(t.versions) - 1; i >= 0; i-- {
		v := &t.versions[i]
		if v.at > seen {
			continue
		}
		if v.gone || t.kind.Name == "part" && ref.Parents["shop"] != fmt.Sprint("s", v.shop) {
			break
		}
		snap := v.snap
		snap.SentAt = sentAt
		return &snap, nil
	}
	return nil, fate.Errorf(fate.Gone, "HTTP 404")
}
