package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// Letter is a dead letter: one event's work on one entity that ran out of
// attempts or failed for good. The payload is in the event's row.
type Letter struct {
	Source, EventID string
	Ref             event.Ref
	Signal          SignalID
	// Class is the fate class of the last error (see package fate), or "abandoned"
	// for work of a source that was discarded.
	Class    string
	Attempts []Attempt
	// Claim is that of the last attempt: a later good sync supersedes it.
	Claim   int64
	TraceID string
	At      time.Time
}

// LetterStatus is the status of a dead letter.
type LetterStatus string

// The statuses of a dead letter.
const (
	LetterOpen       LetterStatus = "open"
	LetterRedriven   LetterStatus = "redriven"
	LetterSuperseded LetterStatus = "superseded"
	LetterDiscarded  LetterStatus = "discarded"
	// LetterErased: its entity was erased while it was open.
	LetterErased LetterStatus = "erased"
)

// Attempt is one failed try.
type Attempt struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// maxAttempts is how many attempts a dead letter keeps, the newest.
const maxAttempts = 100

// MergeAttempts returns the attempts a dead letter has after it was buried again:
// the former ones and those that are new, once each, in the order of their
// times, at most the newest 100.
func MergeAttempts(former, latest []Attempt) []Attempt {
	all := slices.Clone(former)
	for _, a := range latest {
		if !slices.ContainsFunc(all, func(b Attempt) bool { return a.At.UnixMilli() == b.At.UnixMilli() && a.Error == b.Error }) {
			all = append(all, a)
		}
	}
	slices.SortStableFunc(all, func(a, b Attempt) int { return a.At.Compare(b.At) })
	return all[max(0, len(all)-maxAttempts):]
}

// ID is the dead letter's id: the same for the same event and entity, so burying
// twice makes one dead letter.
func (l *Letter) ID() string { return LetterID(l.EventID, l.Ref.Key) }

// LetterID returns the id of the dead letter of an event's work on an entity.
func LetterID(eventID string, k event.Key) string {
	sum := sha256.Sum256([]byte(eventID + "\x00" + k.String()))
	return "dl_" + hex.EncodeToString(sum[:16])
}

// LetterRecord is a dead letter as the store has it.
type LetterRecord struct {
	Letter
	Status LetterStatus
	// EventType and Payload are the event's, from its row in the log.
	EventType string
	Payload   []byte
	// ClosedAt is when it was redriven, superseded or discarded, By who
	// redrove or discarded it, Reason why it was discarded. Empty while open.
	ClosedAt   time.Time
	By, Reason string
}

// LetterFilter selects dead letters; zero values select all.
type LetterFilter struct {
	Status LetterStatus `json:"status,omitempty"`
	Source string       `json:"source,omitempty"`
	// Type is the event's type.
	Type string `json:"type,omitempty"`
	// Kind and Entity select by the entity the dead letter is about.
	Kind   string    `json:"kind,omitempty"`
	Entity event.Key `json:"entity,omitzero"`
	Class  string    `json:"class,omitempty"`
	// From and To bound the time it was buried: from ≤ at < to.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Limit is the page size, 1 to 200. Defaults to 50.
	Limit  int    `json:"limit,omitempty"`
	Cursor string `json:"cursor,omitempty"`
}

// Letters is the part of Store that operators use on dead letters. Superseding is the
// worker's. So is burying, except when a source is discarded.
type Letters interface {
	// LetterByID returns one, or ErrNotFound.
	LetterByID(ctx context.Context, id string) (*LetterRecord, error)
	// Letters lists them, newest first.
	Letters(ctx context.Context, f LetterFilter) (Page[*LetterRecord], error)
	// CountLetters counts what a filter selects; Limit and Cursor are ignored.
	// Without a Status or Entity it may read all dead letters there are.
	CountLetters(ctx context.Context, f LetterFilter) (int64, error)
	// OpenLetters counts open dead letters by source.
	OpenLetters(ctx context.Context) (map[string]int64, error)

	// Redriven closes open dead letters whose work was appended again: their
	// dead outcomes are open again, their rows pending or retrying, open_letters
	// is recounted and behind cleared unless something else causes it: doubts,
	// or other work on the entity that has failed and is not given up. Ones that
	// are not open (superseded by that very work, say) are left. It returns how
	// many it closed. The caller passes the new entries to Requeued.
	Redriven(ctx context.Context, ids []string, by string, at time.Time) (int, error)
	// Discard gives open dead letters up: their dead outcomes become discarded. As
	// for the rest, like Redriven.
	Discard(ctx context.Context, ids []string, by, reason string, at time.Time) (int, error)
}

// Kinds of a note that code decides by.
const (
	// NoteDiffering: an event came again with another body, which is the reason.
	NoteDiffering = "differing"
	// NoteDuplicate: an event came again and was not appended.
	NoteDuplicate = "duplicate"
	// NoteRefused: the store refused an event; Reason is JSON that says why and
	// holds the first MiB of the payload.
	NoteRefused = "refused"
	// NoteOperator: an operator acted through the api; Reason says who and what.
	NoteOperator = "operator"
	// NoteGivenUp: workers gave a sync by hand up, whose id EventID is; Reason is the
	// last error.
	NoteGivenUp = "given_up"
)

// ActID is the id of the note of an operator's act with an id, GivenUpID that of the note
// that it was given up.
func ActID(id string) string     { return "operator/" + id }
func GivenUpID(id string) string { return "given_up/" + id }

// GivenUpOf is the id of the note that an act was given up, by the id of the act's note.
func GivenUpOf(actNote string) string { return GivenUpID(strings.TrimPrefix(actNote, ActID(""))) }

// MaxNotes is the most notes in one call of Note. All of them can be noted again and
// are counted once. Of a longer call that is repeated, a duplicate may count twice.
const MaxNotes = 500

// Note is an entry of the audit: a duplicate, a sum of rejections, an operator's
// action.
type Note struct {
	// ID makes noting twice harmless.
	ID     string
	At     time.Time
	Source string
	// Kind is "duplicate", "differing", "rejected", "empty", "unreadable", "refused", "operator" or
	// "given_up".
	Kind string
	// EventID is set for duplicates, differing and refused ones, and for what is given up.
	EventID string
	// Reason is why it was rejected, from a fixed list; of an operator's action,
	// who did what: "ops: pause: the provider maintains"; of a differing event,
	// its body.
	Reason string
	// Count is how many occurrences it records, at least 1.
	Count int64
	// By, Did, To and Why are who did what to what, and why, of an operator's action;
	// Before and After what it changed, as JSON. Empty where they are not known: Reason
	// has the text then.
	By, Did, To, Why string
	Before, After    string
}

// NoteFilter selects operators' actions; zero values select all.
type NoteFilter struct {
	Source string
	By     string
	// From and To bound the time: from ≤ at < to.
	From, To time.Time
	// Limit is the page size, 1 to 200. Defaults to 50.
	Limit  int
	Cursor string
}
