package fate

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Class is the kind of a failure. The zero value is Transient.
type Class int

// The classes. The package comment says what each is of, and what becomes of it.
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
	// Alone: the other side says that the failure is of what was asked for alone, and
	// not of the source.
	Alone bool
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

// IsAlone reports whether the other side says that err is of what was asked for
// alone. The answer to a question about the source is No then, without asking.
func IsAlone(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Alone
}

// Is reports whether err is of a class. No error is of none.
func Is(err error, class Class) bool {
	of, _ := Of(err)
	return err != nil && of == class
}

// OfStatus returns the class of an HTTP answer other than 200. own: the answer is in
// the provider's own error shape, which tells its 404 and 410 from those of a proxy.
//
// A status that the table does not name is Transient.
func OfStatus(status int, own bool) Class {
	switch status {
	case http.StatusTooManyRequests:
		return Throttled
	case http.StatusUnauthorized, http.StatusForbidden:
		return Refused
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return Permanent
	case http.StatusNotFound, http.StatusGone:
		if own {
			return Gone
		}
	}
	return Transient
}

// StatusOf names the answer behind err in metrics: "200" without an error, the HTTP
// status if one came, else "error".
func StatusOf(err error) string {
	var e *Error
	switch {
	case err == nil:
		return strconv.Itoa(http.StatusOK)
	case errors.As(err, &e) && e.Status != 0:
		return strconv.Itoa(e.Status)
	}
	return "error"
}

// Repeats reports whether the failure is the provider's word on this very request,
// which it would most likely repeat.
func (c Class) Repeats() bool { return c == Gone || c == Refused || c == Permanent }

// Answered reports whether the failure shows that the source is well: the provider
// accepts our key and answers in its own words.
func (c Class) Answered() bool { return c == Gone || c == Permanent }
