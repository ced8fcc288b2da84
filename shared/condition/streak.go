package condition

import "sync/atomic"

// suspectAfter is how many failures in a row make a source suspect, so that its
// probe path is asked.
const suspectAfter = 3

// Streak counts failures in a row. The zero value is ready. It may be used by
// several goroutines.
type Streak struct{ n atomic.Int64 }

// Fail counts a failure, and reports whether the source is suspect by now.
func (s *Streak) Fail() (suspect bool) { return s.n.Add(1) >= suspectAfter }

// Len is how many there are.
func (s *Streak) Len() int { return int(s.n.Load()) }

// End ends the streak.
func (s *Streak) End() { s.n.Store(0) }
