package storage

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// The kinds of tasks of outgoing webhooks.
const (
	// KindDeliver is a standing task that sends the changes of a source to a receiver. Its
	// id is deliver/ and the name of the webhook, its State a Delivery.
	KindDeliver = "deliver"
	// KindSteer is what an operator asks of such a task, with a SteerSpec. The holder of
	// that task's lease does it.
	KindSteer = "steer"
)

// DeliverTask returns the id of the task of a webhook.
func DeliverTask(webhook string) string { return KindDeliver + "/" + webhook }

// What an operator may ask of a delivery.
const (
	SteerPause  = "pause"
	SteerResume = "resume"
	SteerRewind = "rewind"
)

// SteerSpec is the Spec, in JSON, of a task of KindSteer.
type SteerSpec struct {
	Webhook string `json:"webhook"`
	// Act is SteerPause, SteerResume or SteerRewind.
	Act string `json:"act"`
	// After is where a rewind goes: a cursor, AfterSnapshot or AfterNow.
	After string `json:"after,omitempty"`
	// Reason is why. May be "".
	Reason string `json:"reason,omitempty"`
}

// Where a rewind may go that is no cursor: to all that the mirror holds, or behind all
// that has changed.
const (
	AfterSnapshot = "snapshot"
	AfterNow      = "now"
)

// The statuses of a delivery.
const (
	DeliveryActive   = ""
	DeliveryPaused   = "paused"   // by an operator
	DeliveryDisabled = "disabled" // the receiver wants no more
)

// Delivery is how far the changes of a source have been sent to a receiver: the State, in
// JSON, of a task of KindDeliver.
type Delivery struct {
	Source string `json:"source"`
	// After is the cursor up to which everything was accepted or is parked, Position the
	// position in it. "": it has not begun.
	After    string `json:"after,omitempty"`
	Position int64  `json:"position,omitempty"`
	// Walk is how far a snapshot has come. Nil: it reads none.
	Walk *DeliveryWalk `json:"walk,omitempty"`
	// WalkSince is when the snapshot began. Zero: it reads none.
	WalkSince time.Time `json:"walk_since,omitzero"`
	// Event is sent before anything else. Nil: none is.
	Event *DeliveryEvent `json:"event,omitempty"`
	// Parked are the entities that were refused, sorted.
	Parked []ParkedDelivery `json:"parked,omitempty"`

	// Status is one of the statuses, with who set it, when and why.
	Status string    `json:"status,omitempty"`
	By     string    `json:"by,omitempty"`
	At     time.Time `json:"at,omitzero"`
	Reason string    `json:"reason,omitempty"`

	// Wait is why and until when everything waits. Nil: it does not.
	Wait *DeliveryWait `json:"wait,omitempty"`
	// LastError is why the last message that was not accepted was not. "": all were.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// AcceptedAt is when the last message was accepted.
	AcceptedAt time.Time `json:"accepted_at,omitzero"`
}

// OwedSince returns since when the receiver waits for the end of a snapshot, or else for a
// message about the feed. Zero: it waits for neither.
func (d *Delivery) OwedSince() time.Time {
	switch {
	case d.Walk != nil:
		return d.WalkSince
	case d.Event != nil:
		return d.Event.At
	}
	return time.Time{}
}

// DeliveryWalk is behind an entity of a snapshot, or before the first of a kind.
type DeliveryWalk struct {
	Kind string `json:"kind,omitempty"`
	// ID is as event.Key.Local has it.
	ID string `json:"id,omitempty"`
}

// DeliveryEvent is a message about the feed itself.
type DeliveryEvent struct {
	ID     string    `json:"id"`
	Type   string    `json:"type"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

// DeliveryWait says that the receiver does not answer, or asks to be left alone.
type DeliveryWait struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	Error string    `json:"error"`
}

// ParkedDelivery is an entity that a receiver has refused, which waits for its next
// message.
type ParkedDelivery struct {
	Key event.Key `json:"key"`
	// Version is the highest that the feed has.
	Version int64 `json:"version"`
	// Attempts is how many messages of it were refused, Error why the last was.
	Attempts int    `json:"attempts"`
	Error    string `json:"error"`
	// Since is when the first was refused, Last when the last was, Due when the next is
	// sent.
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
	Due   time.Time `json:"due"`
}
