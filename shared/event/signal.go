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
	CauseOperator    Cause = "operator"    // somebody asked
)

// Class is the priority of a signal in the fetch budget of its source.
// Smaller goes first.
type Class int

// The classes, first to last.
const (
	Live Class = iota
	Redrive
	Reconcile
	Backfill
)

var classNames = [...]string{"live", "redrive", "reconcile", "backfill"}

// Classes are all classes in order of priority.
func Classes() []Class { return []Class{Live, Redrive, Reconcile, Backfill} }

// String returns the word DESIGN uses for the class.
func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		return "class" + strconv.Itoa(int(c))
	}
	return classNames[c]
}

// Tier is which of a shard's two streams of a source a signal travels on.
type Tier string

// The tiers.
const (
	TierLive       Tier = "live"       // webhooks, sync, redrive
	TierBackground Tier = "background" // reconcile, backfill, derived
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
	// EventType and CreatedAt are those of the event behind it, if any, also
	// on the entries of its further entities.
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
		EventType: e.Type, CreatedAt: e.CreatedAt, Body: e, Trace: trace,
	}
	if s.Ref.Key = e.Home(); len(e.Entities) > 0 {
		s.Ref = e.Entities[0]
	}
	return s
}

// Names of the stream fields. Short, because every entry repeats them.
const (
	fieldKey       = "k"  // source/kind/id
	fieldParents   = "p"  // JSON object
	fieldCause     = "c"  // cause
	fieldCauseID   = "i"  // id behind the cause
	fieldClass     = "q"  // class number
	fieldType      = "t"  // event type
	fieldCreated   = "a"  // event created_at, Unix µs
	fieldNotBefore = "n"  // Unix ms
	fieldTrace     = "tp" // traceparent
	fieldReceived  = "r"  // own entry: received_at, Unix µs
	fieldEntities  = "e"  // own entry: JSON array of refs
	fieldDerived   = "d"  // own entry: JSON array of refs
	fieldBody      = "b"  // own entry: raw payload
)

// FieldKey is the name of the field that holds the entity key: scripts look
// for it to tell whether the entity is parked.
const FieldKey = fieldKey

// Fields returns the signal as flat field, value pairs of a stream entry.
func (s Signal) Fields() ([]any, error) { return s.AppendFields(make([]any, 0, 26)) }

// AppendFields appends what Fields returns to f.
func (s Signal) AppendFields(f []any) ([]any, error) {
	put := func(name string, v any) { f = append(f, name, v) }
	put(fieldKey, s.Ref.Key.String())
	put(fieldCause, string(s.Cause))
	put(fieldCauseID, s.CauseID)
	put(fieldClass, int(s.Class))
	if len(s.Ref.Parents) > 0 {
		b, err := json.Marshal(s.Ref.Parents)
		if err != nil {
			return nil, fmt.Errorf("encode parents of %s: %w", s.Ref.Key, err)
		}
		put(fieldParents, b)
	}
	if s.EventType != "" {
		put(fieldType, s.EventType)
	}
	if !s.CreatedAt.IsZero() {
		put(fieldCreated, s.CreatedAt.UnixMicro())
	}
	if !s.NotBefore.IsZero() {
		put(fieldNotBefore, s.NotBefore.UnixMilli())
	}
	if s.Trace != "" {
		put(fieldTrace, s.Trace)
	}
	if e := s.Body; e != nil {
		put(fieldReceived, e.ReceivedAt.UnixMicro())
		if err := putRefs(put, fieldEntities, e.Entities); err != nil {
			return nil, fmt.Errorf("encode entities of %s: %w", e.ID, err)
		}
		if err := putRefs(put, fieldDerived, e.Derived); err != nil {
			return nil, fmt.Errorf("encode derived entities of %s: %w", e.ID, err)
		}
		put(fieldBody, e.Payload)
	}
	return f, nil
}

// ParseSignal reads the fields of a stream entry back. An entry it cannot
// read is an error, never an empty signal.
func ParseSignal(fields map[string]string) (Signal, error) {
	var s Signal
	key, err := ParseKey(fields[fieldKey])
	if err != nil {
		return s, fmt.Errorf("stream entry: %w", err)
	}
	s.Ref.Key = key
	s.Cause, s.CauseID = Cause(fields[fieldCause]), fields[fieldCauseID]
	s.EventType, s.Trace = fields[fieldType], fields[fieldTrace]
	class, err := strconv.Atoi(fields[fieldClass])
	if err != nil {
		return s, fmt.Errorf("stream entry of %s: class %q is no number", key, fields[fieldClass])
	}
	s.Class = Class(class)
	if p := fields[fieldParents]; p != "" {
		if err := json.Unmarshal([]byte(p), &s.Ref.Parents); err != nil {
			return s, fmt.Errorf("stream entry of %s: parents: %w", key, err)
		}
	}
	if s.CreatedAt, err = parseTime(fields[fieldCreated], time.UnixMicro); err != nil {
		return s, fmt.Errorf("stream entry of %s: created_at: %w", key, err)
	}
	if s.NotBefore, err = parseTime(fields[fieldNotBefore], time.UnixMilli); err != nil {
		return s, fmt.Errorf("stream entry of %s: not before: %w", key, err)
	}
	body, own := fields[fieldBody]
	if !own {
		return s, nil
	}
	e := &Event{Source: key.Source, ID: s.CauseID, Type: s.EventType, CreatedAt: s.CreatedAt, Payload: []byte(body)}
	if e.ReceivedAt, err = parseTime(fields[fieldReceived], time.UnixMicro); err != nil {
		return s, fmt.Errorf("stream entry of %s: received_at: %w", key, err)
	}
	if e.Entities, err = unpackRefs(key.Source, fields[fieldEntities]); err != nil {
		return s, fmt.Errorf("stream entry of %s: entities: %w", key, err)
	}
	if e.Derived, err = unpackRefs(key.Source, fields[fieldDerived]); err != nil {
		return s, fmt.Errorf("stream entry of %s: derived: %w", key, err)
	}
	s.Body = e
	return s, nil
}

func parseTime(s string, from func(int64) time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	return from(n).UTC(), nil
}

// packedRef leaves out the source, which the entry's own key repeats.
type packedRef struct {
	Kind    string            `json:"k"`
	ID      string            `json:"i"`
	Parents map[string]string `json:"p,omitempty"`
}

func putRefs(put func(string, any), name string, refs []Ref) error {
	if len(refs) == 0 {
		return nil
	}
	packed := make([]packedRef, len(refs))
	for i, r := range refs {
		packed[i] = packedRef{Kind: r.Key.Kind, ID: r.Key.ID, Parents: r.Parents}
	}
	b, err := json.Marshal(packed)
	if err != nil {
		return err
	}
	put(name, b)
	return nil
}

func unpackRefs(source, s string) ([]Ref, error) {
	if s == "" {
		return nil, nil
	}
	var packed []packedRef
	if err := json.Unmarshal([]byte(s), &packed); err != nil {
		return nil, err
	}
	out := make([]Ref, len(packed))
	for i, p := range packed {
		out[i] = Ref{Key: Key{Source: source, Kind: p.Kind, ID: p.ID}, Parents: p.Parents}
	}
	return out, nil
}
