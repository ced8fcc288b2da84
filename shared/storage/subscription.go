package storage

import (
	"context"
	"time"
)

// Subscription says how far a consumer of the change feed has come that gave itself a
// name. What it was sent it may not have handled: it alone knows that.
type Subscription struct {
	Source, Consumer string
	// Form is how it reads: "page" or "stream".
	Form string
	// Kinds are those that it asks for. Nil: all.
	Kinds []string
	// After is the cursor that it was sent last, Position the position in it.
	After    string
	Position int64
	// At is when that was.
	At time.Time
	// By is the name of its token.
	By string
}

// MaxSubscriptions is how many subscriptions a list has at most.
const MaxSubscriptions = 1000

// Subscriptions is the part of Store that keeps how far consumers are. Nothing depends on
// it: consumers keep their cursors themselves.
type Subscriptions interface {
	// SaveSubscriptions saves each in the place of the one with its source and
	// consumer.
	SaveSubscriptions(ctx context.Context, subs []Subscription) error
	// Subscriptions returns those sent something last, at most MaxSubscriptions, the
	// latest first.
	Subscriptions(ctx context.Context) ([]Subscription, error)
	// TrimSubscriptions removes those that were sent nothing since a time, and returns
	// how many.
	TrimSubscriptions(ctx context.Context, before time.Time) (int, error)
}
