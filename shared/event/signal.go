package event

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Cause is why an entity is to be looked at.
type Cause string

// The causes of a signal.
const (
	CauseEvent       Cause = "event"       // an event names it
	CauseDerived     Cause = "derived"     // an event made a kind without events stale
	CauseVerify      Cause = "verify"      // a read that may have been too early is repeated
	CauseDiscrepancy Cause = "discrepancy" // a sweep found it different
	CauseSweep       Cause = "sweep"       // a sweep or backfill wants it fetched
	CauseOperator    Cause = "operator"    // an operator asked for it
	CauseCommand     Cause = "command"     // it is to be changed, or has been: see package outbound
)

// Class is the priority of a signal in the fetch budget of its source.
// Smaller goes first.
type Class int

// The classes, first to last. Command goes before all others, up to a share of the rate
// that is its own. It is -1, since stream entries have the numbers of the others.
const (
	Command Class = iota - 1
	Live
	Redrive
	Reconcile
	Backfill
)

var classNames = [...]string{"command", "live", "redrive", "reconcile", "backfill"}

// Classes are all classes in order of priority.
func Classes() []Class { return []Class{Command, Live, Redrive, Reconcile, Backfill} }

// String returns the name of the class, as in metrics.
func (c Class) String() string {
	if c < Command || c > Backfill {
		return "class" + strconv.Itoa(int(c))
	}
	return classNames[c-Command]
}

// Tier is which of a shard's two streams of a source a signal travels on.
type Tier string

// The tiers.
const (
	// TierLive has the classes Command, Live, such as webhooks and an operator's sync,
	// and Redrive.
	TierLive Tier = "live"
	// TierBackground has the classes Reconcile, such as sweeps, refreshes of derived
	// kinds and second looks, and Backfill.
	TierBackground Tier = "background"
)

// Tier returns the stream a class travels on.
func (c Class) Tier() Tier {
	if c <= Redrive {
		return TierLive
	}
	return TierBackground
}

// Signal is one stream entry: "look at entity Ref", with its cause.
type Signal struct {
	// Ref is the entity. Its Kind is empty on the entry of an event that names
	// no known entity: such an entry is only logged.
	Ref   Ref
	Cause Cause
	// CauseID is the id of the event, discrepancy, sweep or job behind it.
	CauseID string
	Class   Class
	// EventType is that of the event behind it, if any, and CreatedAt its
	// OrderTime, also on the entries of its further entities.
	EventType string
	CreatedAt time.Time
	// Body is the whole event, on the event's own entry only.
	Body *Event
	// NotBefore holds a sync back until then. Zero: as soon as possible.
	NotBefore time.Time
	// Trace is the W3C traceparent of the span that sent it. May be empty.
	Trace string
}

// Own returns the signal of the event's own entry.
func Own(e *Event, trace string) Signal {
	s := Signal{
		Cause: CauseEvent, CauseID: e.ID, Class: Live,
		EventType: e.Type, CreatedAt: OrderTime(e.CreatedAt, e.ReceivedAt), Body: e, Trace: trace,
	}
	if s.Ref.Key = e.Home(); len(e.Entities) > 0 {
		s.Ref = e.Entities[0]
	}
	return s
}

// Names of the stream fields. Few, because every entry repeats them and each
// costs the append script (measured: with eleven, Redis takes a third longer
// for an append).
const (
	fieldKey     = "k" // the entity's key as text
	fieldCauseID = "i" // id behind the cause
	fieldHead    = "h" // head, as JSON
	fieldBody    = "b" // own entry: raw payload
)

// FieldKey is the name of the field that holds the entity key: scripts look
// for it to tell whether the entity is parked.
const FieldKey = fieldKey

// FieldNames are the names of the fields, in the order in which Fields returns them.
// Their values are the entity's key, CauseID, what AppendHead writes and, on an event's
// own entry only, its payload.
func FieldNames() [4]string { return [4]string{fieldKey, fieldCauseID, fieldHead, fieldBody} }

// Fields returns the signal as flat field, value pairs of a stream entry.
func (s Signal) Fields() ([]any, error) { return s.AppendFields(make([]any, 0, 8)) }

// AppendFields appends what Fields returns to f. There is no signal it fails
// for.
func (s Signal) AppendFields(f []any) ([]any, error) {
	text := s.AppendHead(make([]byte, 0, s.headSize()))
	f = append(f, fieldKey, s.Ref.Key.String(), fieldCauseID, s.CauseID, fieldHead, text)
	if s.Body != nil {
		f = append(f, fieldBody, s.Body.Payload)
	}
	return f, nil
}

// ParseSignal reads the fields of a stream entry back. An entry it cannot
// read is an error, never an empty signal.
func ParseSignal(fields map[string]string) (Signal, error) {
	key, err := ParseKey(fields[fieldKey])
	if err != nil {
		return Signal{}, fmt.Errorf("stream entry: %w", err)
	}
	var h head
	if err := json.Unmarshal([]byte(fields[fieldHead]), &h); err != nil {
		return Signal{}, fmt.Errorf("stream entry of %s: head: %w", key, err)
	}
	if h.Class == nil {
		return Signal{}, fmt.Errorf("stream entry of %s: head has no class", key)
	}
	s := Signal{
		Ref: Ref{Key: key, Parents: h.Parents}, Cause: h.Cause, CauseID: fields[fieldCauseID], Class: *h.Class,
		EventType: h.EventType, CreatedAt: fromMicros(h.CreatedAt), NotBefore: fromMicros(h.NotBefore), Trace: h.Trace,
	}
	if body, own := fields[fieldBody]; own {
		created := s.CreatedAt
		if h.DatedAt != nil {
			created = fromMicros(h.DatedAt)
		}
		s.Body = &Event{
			Source: key.Source, ID: s.CauseID, Type: s.EventType, CreatedAt: created,
			ReceivedAt: fromMicros(h.ReceivedAt), Payload: []byte(body),
			Undated: h.Flags&flagUndated != 0, Unnamed: h.Flags&flagUnnamed != 0,
			Entities: unpackRefs(key.Source, h.Entities), Derived: unpackRefs(key.Source, h.Derived),
			Note: ParseNote(h.Note), Given: h.Given,
		}
		if es := s.Body.Entities; len(es) > 0 && es[0].Key == key {
			s.Ref = es[0]
		}
	}
	return s, nil
}

func fromMicros(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return time.UnixMicro(*n).UTC()
}

func unpackRefs(source string, packed []packedRef) []Ref {
	if len(packed) == 0 {
		return nil
	}
	refs := make([]Ref, len(packed))
	for i, p := range packed {
		refs[i] = Ref{Key: Key{Source: source, Kind: p.Kind, ID: p.ID, Under: p.Under}, Parents: p.Parents}
	}
	return refs
}
