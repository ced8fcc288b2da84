package mirror

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// Letter is a dead letter: one event's work on one entity that ran out of
// attempts or failed for good. The payload is in the event's row.
type Letter struct {
	Source, EventID string
	Ref             event.Ref
	Signal          SignalID
	// Class is the fate class of the last error; see package fate.
	Class    string
	Attempts []Attempt
	// Claim is that of the last attempt: a later good sync supersedes it.
	Claim   int64
	TraceID string
	At      time.Time
}

// LetterStatus is what has become of a dead letter.
type LetterStatus string

// The statuses of a dead letter.
const (
	LetterOpen       LetterStatus = "open"
	LetterRedriven   LetterStatus = "redriven"
	LetterSuperseded LetterStatus = "superseded"
	LetterDiscarded  LetterStatus = "discarded"
)

// Attempt is one failed try.
type Attempt struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// ID is the letter's id: the same for the same event and entity, so burying
// twice makes one letter.
func (l *Letter) ID() string { return LetterID(l.EventID, l.Ref.Key) }

// LetterID returns the id of the letter of an event's work on an entity.
func LetterID(eventID string, k event.Key) string {
	sum := sha256.Sum256([]byte(eventID + "\x00" + k.String()))
	return "dl_" + hex.EncodeToString(sum[:16])
}

// NoteDuplicate is the kind of a note of an event that came again and was not
// appended.
const NoteDuplicate = "duplicate"

// Note is an entry of the audit that needs no answer: a duplicate, or a sum
// of rejections.
type Note struct {
	// ID makes noting twice harmless.
	ID     string
	At     time.Time
	Source string
	// Kind is "duplicate", "rejected" or "unreadable".
	Kind string
	// EventID is set for duplicates.
	EventID string
	// Reason is why it was rejected, from a fixed list.
	Reason string
	// Count is how many it stands for, at least 1.
	Count int64
}

// Discrepancy is something found different between provider and mirror.
type Discrepancy struct {
	// ID makes recording twice harmless.
	ID     string
	Entity event.Key
	// Type is missing, stale, deleted, unexpected, event_missed, rewritten or
	// subscription_gap.
	Type string
	// Status is suspected, confirmed, repaired, failed or dropped.
	Status string
	// Patch is an RFC 6902 patch from the mirror's state to the provider's.
	Patch   []byte
	FoundAt time.Time
}
