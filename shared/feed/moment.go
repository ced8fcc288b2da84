package feed

import (
	"errors"
	"time"
)

// Moment is a time in an answer. All are written in one way, RFC 3339 in UTC with
// milliseconds, which is what the stores keep.
type Moment struct{ time.Time }

// momentFormat is how a Moment is written.
const momentFormat = "2006-01-02T15:04:05.000Z"

// MomentOf returns a time as a Moment.
func MomentOf(t time.Time) Moment { return Moment{t.UTC()} }

// Text returns the time as it is written, for the words of an answer.
func (m Moment) Text() string { return m.Format(momentFormat) }

// MarshalJSON writes the time. What is finer than milliseconds is cut off.
func (m Moment) MarshalJSON() ([]byte, error) {
	if y := m.Year(); y < 0 || y > 9999 {
		return nil, errors.New("RFC 3339 cannot write the year")
	}
	return []byte(`"` + m.Text() + `"`), nil
}

// The first and last time that RFC 3339 can write.
var (
	firstTime = time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)
	lastTime  = time.Date(9999, 12, 31, 23, 59, 59, int(time.Second-time.Nanosecond), time.UTC)
)

// Writable returns a time in the range that RFC 3339 can write. Events with other times
// are refused, but earlier versions accepted them.
func Writable(t time.Time) time.Time {
	switch t = t.UTC(); {
	case t.IsZero():
		return t
	case t.Before(firstTime):
		return firstTime
	case t.After(lastTime):
		return lastTime
	}
	return t
}
