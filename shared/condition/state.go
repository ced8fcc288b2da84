package condition

import "time"

// State is what the fleet knows of a source. The zero value is a source that is not
// paused.
type State struct {
	Paused bool
	// Until is when a probe may be tried. Zero with Paused: only an operator ends it.
	Until  time.Time
	Since  time.Time
	Reason string
	By     string
	// Kind is what follows from the pause; Reason is for people.
	Kind PauseKind
	// Witnesses are the kinds of which a known entity must answer before the
	// pause ends. None: the probe path alone decides.
	Witnesses []string
	// Strikes counts the pauses in a row without a good answer in between, this one
	// included. A pause that is renewed before its time has come counts once.
	Strikes int
	// Told is the alert that was raised for this pause, "" for none. Of the methods of
	// stream.Streams only Source and Sources set it.
	Told string
}

// EndsByItself reports whether a probe may end the pause. Else only an operator does.
func (s State) EndsByItself() bool { return s.Paused && !s.Until.IsZero() }
