package storage

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// EventStatus is the status of an event or of an outcome.
type EventStatus string

// The statuses of an event. An outcome has the same ones, except Retrying. It is
// called open while it is Pending, and settled otherwise.
const (
	Pending    EventStatus = "pending"
	Retrying   EventStatus = "retrying"
	Processed  EventStatus = "processed"
	Dead       EventStatus = "dead"
	Superseded EventStatus = "superseded"
	Discarded  EventStatus = "discarded"
	// Erased: the entity is erased, and was not fetched. An event has this status if all
	// it names is erased; otherwise its status follows from the other outcomes.
	Erased EventStatus = "erased"
)

// Final reports whether an outcome of this status is settled.
func (s EventStatus) Final() bool { return s != Pending && s != Retrying && s != "" }

// SignalID names a stream entry.
type SignalID struct {
	Shard int    `json:"shard"`
	ID    string `json:"id"`
}

// Arrival is an event as read from its stream, to be logged.
type Arrival struct {
	Event *event.Event
	// Signal is the event's own entry.
	Signal SignalID
	// TraceID is the W3C trace id of the request that brought it. May be "".
	TraceID string
}

// MaxPayload is the longest payload of an event that a store keeps, in bytes:
// 15 MiB, since a document of MongoDB's holds 16 and the rest of the row wants
// room.
const MaxPayload = 15 << 20

// CheckPayload returns a permanent error for a longer payload, the same for every
// store.
func (a *Arrival) CheckPayload() error {
	if n := len(a.Event.Payload); n > MaxPayload {
		return fate.Errorf(fate.Permanent, "event %s/%s: a payload of %d bytes is more than the log keeps (15 MiB)", a.Event.Source, a.Event.ID, n)
	}
	return nil
}

// Logged is the result of Log for one arrival.
type Logged struct {
	// Inserted: the row is new.
	Inserted bool
	// Redelivered: the row was there and came with another stream entry: the
	// provider has sent the event again and it was accepted again. Its dead
	// outcomes were opened again.
	Redelivered bool
	// PayloadDiffers: the same id came with another body; the first was kept.
	PayloadDiffers bool
	// Outcomes are the statuses by entity after the call (Pending = open).
	Outcomes map[event.Key]EventStatus
}

// Covered names the fetch that covered an event's signal.
type Covered struct {
	Claim     int64     `json:"claim"`
	FetchedAt time.Time `json:"fetched_at"`
	// Signal is the newest entry that fetch covered: more than one event
	// naming the same fetch shows what was coalesced.
	Signal string `json:"signal"`
	// StateHash is that of the state the mirror has had from this fetch on, or
	// StateGone. "" if an older version settled it.
	StateHash string `json:"state_hash,omitempty"`
}

// StateGone is used in place of a hash where the provider has no such entity.
const StateGone = "gone"

// Settlement is one event's work on one entity, done.
type Settlement struct {
	// Erased: the entity is erased. The outcome becomes Erased and not Processed, and the
	// payload and the errors of the event are replaced by ErasedText.
	Erased          bool
	Source, EventID string
	Entity          event.Key
	// Signal is the entry on the entity's shard that is settled.
	Signal    SignalID
	CoveredBy Covered
	// At becomes processed_at of the event if this was its last open outcome.
	At time.Time
	// OutOfOrder: the event is older than one already taken for the entity.
	// Overtaken: the history is already past it. Lagging: the provider's reads did
	// not show it in time. ParentsDiffer: the event names other parents for the
	// entity than its known parents. All four are kept on the row once true.
	OutOfOrder, Overtaken, Lagging, ParentsDiffer bool
}

// Failure is one failed try of one event's work on one entity.
type Failure struct {
	Source, EventID string
	Entity          event.Key
	Signal          SignalID
	At              time.Time
	Class, Error    string
	// Uncharged: it costs no attempt, as a 404 that is to be confirmed.
	Uncharged bool
	// Next is when it is tried again. Zero: not known.
	Next time.Time
	// Claim is that of the attempt. Once a later one has begun, a failure that
	// is recorded late no longer changes the entity's document.
	Claim int64
}

// FirstFailures are, by entity, the first failures of its newest attempt.
func FirstFailures(failed []Failure) map[event.Key]Failure {
	first := map[event.Key]Failure{}
	for _, f := range failed {
		was, known := first[f.Entity]
		if !known || f.Claim > was.Claim || f.Claim == was.Claim && f.At.Before(was.At) {
			first[f.Entity] = f
		}
	}
	return first
}

// EventRow is an event as the log has it.
type EventRow struct {
	ID, Source, Type                   string
	CreatedAt, ReceivedAt, ProcessedAt time.Time
	Status                             EventStatus
	// Attempts counts failed attempts; Error is that of the last failure.
	Attempts                       int
	Error                          string
	Duplicates                     int64
	OutOfOrder, Overtaken, Lagging bool
	PayloadDiffers                 bool
	// ParentsDiffer: it named other parents for an entity than those the entity
	// was known to have when it was settled.
	ParentsDiffer bool
	// Unnamed: it does not name the entity its type is about. Undated: its own
	// time could not be read; CreatedAt is zero.
	Unnamed, Undated bool
	// Note is the event's.
	Note event.Note
	// Entities are the outcomes, primary first, in the order the event named
	// them.
	Entities []Outcome
	Payload  []byte
	// Given are the values that were read outside the payload.
	Given   map[string]string
	TraceID string
}

// Kept is the event as far as the log keeps what it was read from: with this
// provider.Definition.Stored reads it again.
func (r *EventRow) Kept() *event.Event {
	return &event.Event{Source: r.Source, ID: r.ID, ReceivedAt: r.ReceivedAt, Payload: r.Payload, Given: r.Given}
}

// Passage is when an event came and when it was done.
type Passage struct {
	Source string
	Status EventStatus
	// ReceivedAt is the event's. ProcessedAt is when its last open outcome was settled,
	// zero while it has one.
	ReceivedAt, ProcessedAt time.Time
}

// Outcome is the state of an event's work on one entity.
type Outcome struct {
	Ref       event.Ref
	Status    EventStatus
	Signal    SignalID
	CoveredBy *Covered
	// FailedAt is when its work failed last, charged or not, Error why, and NextAt when
	// it was to be tried again then. They stay once it is settled. Zero if it never
	// failed; an older version kept neither Error nor NextAt.
	FailedAt, NextAt time.Time
	Error            string
}
