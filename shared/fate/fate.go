// Package fate decides what becomes of a piece of work that failed. It is one
// table, in one place, used by the worker and the reconciler.
//
// An error carries a Class, put on it where it was understood (the provider
// client knows a 404 in the provider's own shape, the store knows that it is
// away). Of reads the class back; what nobody classified is Transient, since
// trying again is the answer that loses nothing.
//
//	class         what happened                                  fate
//	Transient     network error, timeout, 408, 425, 5xx,         park with back-off, one attempt
//	              404 in a foreign shape, redirect, wrong type,
//	              an answer that cannot be read or is not the entity
//	Throttled     429, budget empty                              ask the probe path: pause, no attempt; or it is this
//	                                                             one thing: it waits alone, the third time charged
//	Unavailable   store or Redis away                            hold everything, no attempt
//	Refused       401, 403                                       ask the probe path: pause or bury
//	Gone          404, 410 in the provider's own error shape     ask again after gone_after, then tombstone, if
//	                                                             another known entity is found
//	Permanent     400, 422, refused document                     bury at once
//	Undefined     the definition here has no such kind, as in    park with back-off, no attempt: a member with a newer
//	              an old worker while a new one is rolled out    definition takes it up
//	Panic         a panic in a handler                           bury with the stack; the worker lives
//
// What a failed probe means for a source as a whole is the other table: Pauses.
package fate

import (
	"errors"
	"fmt"
	"time"
)

// Class is the kind of a failure. The zero value is Transient.
type Class int

// The classes; the package comment has their fates.
const (
	Transient Class = iota
	Throttled
	Unavailable
	Refused
	Gone
	Permanent
	Panic
	Undefined
)

var names = [...]string{"transient", "throttled", "unavailable", "refused", "gone", "permanent", "panic", "undefined"}

// String returns the class as it stands in logs, metrics and dead letters.
func (c Class) String() string {
	if c < 0 || int(c) >= len(names) {
		return fmt.Sprintf("class%d", int(c))
	}
	return names[c]
}

// ErrNoWrites, wrapped, is the answer of a database or a Redis that is there and
// refuses what is written: a replica, or one whose disk is full.
var ErrNoWrites = errors.New("takes no writes")

// Error is a failure whose class is known.
type Error struct {
	Class Class
	// Status is the HTTP status that told, 0 if none did.
	Status int
	// RetryAfter is how long the other side asked us to wait, 0 if it did not.
	RetryAfter time.Duration
	// Err says what failed, without payloads or secrets.
	Err error
}

// New wraps err with a class.
func New(class Class, err error) *Error { return &Error{Class: class, Err: err} }

// Errorf makes a classified error from a format, as fmt.Errorf does.
func Errorf(class Class, format string, args ...any) *Error {
	return New(class, fmt.Errorf(format, args...))
}

// Error returns the text of the wrapped error.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *Error) Unwrap() error { return e.Err }

// Of returns the class of err and, when it was asked for, how long to wait.
// An error without a class is Transient.
func Of(err error) (Class, time.Duration) {
	var e *Error
	if errors.As(err, &e) {
		return e.Class, e.RetryAfter
	}
	return Transient, 0
}

// Final reports whether trying the same again is pointless, so that the work
// is buried at once. (Refused is not: the probe path decides.)
func (c Class) Final() bool { return c == Permanent || c == Panic }
