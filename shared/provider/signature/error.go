package signature

import "fmt"

// Error says why a signature was not accepted.
type Error struct {
	// Reason is one of the reasons below, fit for a metric.
	Reason string
	// Detail says what is wrong, for the sender. It never holds a secret.
	Detail string
}

// The reasons of an Error.
const (
	Missing   = "missing"   // a header or the secret of the path is not there
	Malformed = "malformed" // a header cannot be read
	Doubled   = "doubled"   // a header or a time occurs twice, with different values
	Mismatch  = "mismatch"  // no signature is of this body by a known secret
	TooOld    = "too_old"   // signed longer ago than the tolerance
	InFuture  = "in_future" // signed further ahead than the tolerance
)

// Error returns the reason and the detail.
func (e *Error) Error() string { return e.Reason + ": " + e.Detail }

func refuse(reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}
