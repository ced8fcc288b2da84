package event

import "time"

// Event is one webhook notification, as received.
type Event struct {
	// Source is the configured account it came to.
	Source string
	// ID is the provider's id, unique per source: the idempotency key.
	ID string
	// Type is the provider's word for what happened: "order.executed".
	// Unknown types are kept like any other.
	Type string
	// CreatedAt is the provider's time of the event, UTC. Zero if it gave none.
	CreatedAt time.Time
	// Undated: it has no readable time of its own though its provider sends one.
	Undated bool
	// Unnamed: it does not name the entity its type is about, or none at all.
	// What it is about is then found by sweeps only.
	Unnamed bool
	// Ambiguous: it names an entity without its parents, by an id that the mirror
	// knows under several. Such an event is Unnamed too. Workers find it out.
	Ambiguous bool
	// Note says why the event leads to less than others do. Zero for nearly all.
	Note Note
	// ReceivedAt is when the api read it, UTC.
	ReceivedAt time.Time
	// Entities are what the event names, primary first. Empty when it names no
	// known entity; it is logged all the same.
	Entities []Ref
	// Derived are kinds without events of their own (positions, financials)
	// that this event makes stale. They are no part of its status.
	Derived []Ref
	// Payload is the raw body, byte for byte; of a request that held several events,
	// the event's own part of it.
	Payload []byte
	// Given are the values that were read outside the payload, in headers or in the
	// rest of the request, by the place that the definition names. With them the
	// event can be read again from the log. Nil for nearly all.
	Given map[string]string
}

// Logged returns what a signal still needs of the event once its log row is
// written: not the payload, nor what it names.
func (e *Event) Logged() *Event {
	if e == nil {
		return nil
	}
	lean := *e
	lean.Payload, lean.Given, lean.Entities, lean.Derived = nil, nil, nil, nil
	return &lean
}

// OrderTime is when an event happened, as far as order goes: when the provider
// says that it was created, but not later than it was received. A provider's
// clock may be ahead, and one date far in the future must not sort after every
// event that follows. Zero if created is.
func OrderTime(created, received time.Time) time.Time {
	if !received.IsZero() && created.After(received) {
		return received
	}
	return created
}

// Home is the key whose shard holds the event's own entry: its primary
// entity, or, when it names none, a key made of its own id with an empty kind.
func (e *Event) Home() Key {
	if len(e.Entities) > 0 {
		return e.Entities[0].Key
	}
	return Key{Source: e.Source, ID: e.ID}
}
