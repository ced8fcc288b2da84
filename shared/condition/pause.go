package condition

import (
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
)

// PauseKind is why a source is paused. What follows from a pause follows from
// its kind, never from the text beside it, which people write too.
type PauseKind string

// The kinds of a pause.
const (
	// PausedByHand: an operator wants it so.
	PausedByHand PauseKind = "by_hand"
	// PausedThrottled: the provider asks us to slow down.
	PausedThrottled PauseKind = "throttled"
	// PausedUsedUp: the provider says that its limit is used up, before it has
	// had to refuse anything.
	PausedUsedUp PauseKind = "used_up"
	// PausedDown: the provider does not answer, or answers with failures.
	PausedDown PauseKind = "down"
	// PausedRefused: the provider refuses our key.
	PausedRefused PauseKind = "refused"
	// PausedMisconfigured: the provider answers, but about something else than
	// what the mirror holds. The address or the key is wrong.
	PausedMisconfigured PauseKind = "misconfigured"
)

// PauseKinds are all kinds that this version knows.
var PauseKinds = []PauseKind{PausedByHand, PausedThrottled, PausedUsedUp, PausedDown, PausedRefused, PausedMisconfigured}

var pauseWords = map[PauseKind]string{
	PausedByHand:        "paused by hand",
	PausedThrottled:     "throttled",
	PausedUsedUp:        "rate limit used up",
	PausedDown:          "source is down",
	PausedRefused:       "credentials refused",
	PausedMisconfigured: "misconfigured",
}

// Words returns the kind as people read it: what the reason of a pause begins
// with, and the class of its alert.
func (k PauseKind) Words() string {
	if words := pauseWords[k]; words != "" {
		return words
	}
	return string(k) // of a newer version
}

// WantsAHuman reports whether the pause is alerted. A pause that ends by itself and
// means only that we are quick is not, nor is one that people made.
func (k PauseKind) WantsAHuman() bool {
	switch k {
	case PausedByHand, PausedThrottled, PausedUsedUp:
		return false
	}
	return true
}

// SlowsThePace reports whether less is to be asked for after the pause.
func (k PauseKind) SlowsThePace() bool { return k == PausedThrottled }

// Pause is a pause of a source.
type Pause struct {
	Kind PauseKind
	// For is how long until a probe may end it. 0: until an operator resumes the source.
	For time.Duration
	// Reason is the text for people.
	Reason string
	// Witnesses are kinds of entities. A known entity of one of them must answer,
	// besides the probe path, before the pause ends. None: the probe path alone
	// decides.
	Witnesses []string
}

// Pauses is how long a pause lasts if the provider does not say: First, then twice
// as long with each further one in a row, at most Longest.
type Pauses struct {
	// First is the length of the first pause in a row. Defaults to 1 s.
	First time.Duration
	// Longest is the longest pause. Defaults to 1 minute.
	Longest time.Duration
}

// After returns the pause that a failed probe calls for. It is the one place that
// says what the answer of the probe path means for the whole source. strikes is how
// many pauses in a row the source has had. If the provider asked us to wait, the
// pause is as long as that.
func (p Pauses) After(probe error, strikes int) Pause {
	class, asked := fate.Of(probe)
	kind := PausedDown
	switch class {
	case fate.Throttled:
		kind = PausedThrottled
	case fate.Refused:
		kind = PausedRefused
	case fate.Gone, fate.Permanent:
		// It answers in its own words, and not where we ask.
		kind = PausedMisconfigured
	}
	if asked <= 0 {
		asked = p.Length(strikes)
	}
	return NewPause(kind, asked, probe.Error())
}

// Length is how long a pause lasts that comes after so many in a row.
func (p Pauses) Length(strikes int) time.Duration {
	p = p.WithDefaults()
	return min(p.First<<min(max(strikes, 0), 10), p.Longest)
}

// WithDefaults returns p with its zero fields set.
func (p Pauses) WithDefaults() Pauses {
	if p.First <= 0 {
		p.First = time.Second
	}
	if p.Longest <= 0 {
		p.Longest = time.Minute
	}
	return p
}

// NewPause returns a pause whose reason says its kind and what is behind it.
func NewPause(kind PauseKind, d time.Duration, why string) Pause {
	why, _, _ = strings.Cut(why, "\n")
	return Pause{Kind: kind, For: d, Reason: kind.Words() + ": " + why}
}
