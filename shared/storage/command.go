package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// ErrKeyReused is the error of a command whose key is that of another command, which
// asks for something else.
var ErrKeyReused = errors.New("the key is that of another command, which asks for something else")

// CommandState is how far a command is.
type CommandState string

// The states of a command. Package outbound says how one leads to another.
const (
	CommandQueued    CommandState = "queued"    // not sent, or known not to be done
	CommandSending   CommandState = "sending"   // a worker may be sending it
	CommandUnclear   CommandState = "unclear"   // it is being found out what became of it
	CommandAsked     CommandState = "asked"     // only an operator can know what became of it
	CommandAnswered  CommandState = "answered"  // done at the provider, not yet in the mirror
	CommandDone      CommandState = "done"      // done, and the mirror shows it
	CommandDead      CommandState = "dead"      // refused, or given up
	CommandCancelled CommandState = "cancelled" // taken back before it was sent
	CommandDiscarded CommandState = "discarded" // an operator gave it up
)

// CommandStates are all states, in the order in which a command may come to them.
func CommandStates() []CommandState {
	return []CommandState{
		CommandQueued, CommandSending, CommandUnclear, CommandAsked, CommandAnswered,
		CommandDone, CommandDead, CommandCancelled, CommandDiscarded,
	}
}

// Final reports whether a command of this state is over. Only an operator's retry takes one
// out of such a state, and only a dead one.
func (s CommandState) Final() bool {
	switch s {
	case CommandDone, CommandDead, CommandCancelled, CommandDiscarded:
		return true
	}
	return false
}

// Rests reports whether nothing more happens to a command of this state by itself: it is
// over, or waits for an operator's word. The change feed has every command that rests.
func (s CommandState) Rests() bool { return s.Final() || s == CommandAsked }

// CommandID returns the id of the command that an application's key names.
func CommandID(source, key string) string {
	sum := sha256.Sum256([]byte(source + "\x00" + key))
	return "cmd_" + hex.EncodeToString(sum[:16])
}

// refMark begins the id of the lane of a ref. An entity whose id begins with it cannot be
// commanded.
const refMark = "~"

// RefLane returns the lane of a ref: that of the commands on what a ref names, until its
// id is known.
func RefLane(source, kind, ref string) event.Key {
	return event.Key{Source: source, Kind: kind, ID: refMark + ref}
}

// RefOfLane returns the ref whose lane this is, and whether it is that of a ref.
func RefOfLane(lane event.Key) (ref string, ok bool) { return strings.CutPrefix(lane.ID, refMark) }

// commandMark begins the kind of an item of the feed that is a command. No definition names
// a kind so.
const commandMark = "~"

// CommandItem returns the key of a command in the feed. It has the kind that the command is
// about, so that those who follow some kinds need not read commands of others.
func CommandItem(source, kind, id string) event.Key {
	return event.Key{Source: source, Kind: commandMark + kind, ID: id}
}

// CommandOfItem returns the kind that a command is about whose key in the feed this is, and
// whether it is one; its ID is that of the key.
func CommandOfItem(k event.Key) (kind string, ok bool) { return strings.CutPrefix(k.Kind, commandMark) }

// Command is one change that an application asks for. The fields up to Trace are set when
// it is asked for and never change.
type Command struct {
	// ID is CommandID of source and key.
	ID     string
	Source string
	// Key is the application's own name for the command: the same key is the same command.
	Key string
	// Fingerprint is a hash of what is asked for. A command with the same key and another
	// fingerprint is refused.
	Fingerprint string
	// Kind and Op say what is to be done, in the words of the provider's definition.
	Kind, Op string
	// Ref is the application's name for the entity, if it was asked for by that.
	Ref string
	// Parents are the ids that the entity is under.
	Parents map[string]string
	// Body is a JSON object with the fields to be set. Nil: none. The secrets of the
	// operation are cut out of it once the command is final.
	Body []byte
	// Bulk: it may wait for everything that is more urgent.
	Bulk bool
	// By is who asked for it.
	By string
	At time.Time
	// Trace is the W3C traceparent of the request that asked for it. May be empty.
	Trace string

	// Lane is the entity that it changes, or RefLane until the id of that is known, and
	// N its place there: commands of a lane are performed in the order of N.
	Lane event.Key
	N    int64

	State CommandState
	// Rev counts its changes. Move compares it.
	Rev int64
	// DueAt is when it is looked at again, by the clock of Redis. Zero: not by itself.
	DueAt time.Time
	// Owed is a debt to the change feed: the command has come to rest, or has left a state
	// that the feed has told, and the feed does not have its Rev yet. See Commands.Owed.
	Owed bool

	// Request is what is sent, from the first attempt on. Every attempt sends the same.
	Request *CommandRequest
	// Charged are the attempts that count.
	Charged int
	// Keys is how many idempotency keys it has had: a new one is needed after an error
	// that the provider repeats.
	Keys int
	// KeyedAt is when the present key was first sent, SentAt when the last attempt
	// was begun, both by the clock of Redis. Zero: never.
	KeyedAt, SentAt time.Time
	// Begun names the attempt under way, so that the worker that began it knows it again.
	Begun string
	// Attempts are the newest MaxCommandAttempts.
	Attempts []CommandAttempt
	// WaitsFor are the refs, as KIND/REF, whose ids are not known yet and which the
	// body names. WaitsSince is when the first was missed.
	WaitsFor   []string
	WaitsSince time.Time
	// Doubt is what is known of an attempt without an answer. Nil: nothing is in doubt.
	Doubt *CommandDoubt
	// Result is the provider's answer. Nil: there is none yet.
	Result *CommandResult
	// CoveredBy is the fetch by which the mirror shows the change. Nil until then.
	CoveredBy *Covered
	// Asked is what an operator has to know. Nil: nothing is asked.
	Asked *CommandQuestion
	// Reason is why it is dead or was discarded: "create" of one whose entity was never
	// created, else a sentence.
	Reason string
	// EndedAt is when it became final.
	EndedAt time.Time
}

// MaxCommandAttempts is how many attempts a command keeps, the newest.
const MaxCommandAttempts = 50

// Entity returns the entity that the command changes; zero while its id is not known.
func (c *Command) Entity() event.Key {
	if _, ref := RefOfLane(c.Lane); ref {
		return event.Key{}
	}
	return c.Lane
}

// IsEmpty reports whether Empty has nothing to remove.
func (c *Command) IsEmpty() bool {
	for _, a := range c.Attempts {
		if a.Error != "" && a.Error != ErasedText {
			return false
		}
	}
	return c.Body == nil && (c.Request == nil || c.Request.Bytes == nil) && (c.Result == nil || c.Result.Body == nil) &&
		(c.Reason == "" || c.Reason == ErasedText)
}

// Empty removes what a command holds of its entity's content, as erasing does.
func (c *Command) Empty() {
	c.Body = nil
	if c.Request != nil {
		r := *c.Request
		r.Bytes = nil
		c.Request = &r
	}
	if c.Result != nil {
		r := *c.Result
		r.Body = nil
		c.Result = &r
	}
	for i := range c.Attempts {
		if c.Attempts[i].Error != "" {
			c.Attempts[i].Error = ErasedText
		}
	}
	if c.Reason != "" {
		c.Reason = ErasedText
	}
}

// CommandRequest is a rendered command, with the fields of provider.Request.
type CommandRequest struct {
	Method    string `json:"method" bson:"method"`
	Path      string `json:"path" bson:"path"`
	Type      string `json:"type,omitempty" bson:"type,omitempty"`
	Bytes     []byte `json:"-" bson:"bytes,omitempty"`
	Key       string `json:"key,omitempty" bson:"key,omitempty"`
	KeyHeader string `json:"key_header,omitempty" bson:"key_header,omitempty"`
	Scope     string `json:"scope,omitempty" bson:"scope,omitempty"`
}

// CommandAttempt is one request that was sent, or could not be.
type CommandAttempt struct {
	At time.Time `json:"at" bson:"at"`
	// Status is the HTTP status. 0: there was no answer.
	Status int `json:"status,omitempty" bson:"status,omitempty"`
	// Error is what went wrong. "": nothing did.
	Error string `json:"error,omitempty" bson:"error,omitempty"`
	// RequestID is the provider's name for the request.
	RequestID string `json:"request_id,omitempty" bson:"request_id,omitempty"`
}

// CommandDoubt is how far it has been found out what became of an attempt.
type CommandDoubt struct {
	Since time.Time `json:"since" bson:"since"`
	// Strategy is the place, among those of the operation, of the one that is tried.
	Strategy int `json:"strategy,omitempty" bson:"strategy,omitempty"`
	// AbsentAt is when the effect was first not seen. Zero: not yet.
	AbsentAt time.Time `json:"absent_at,omitzero" bson:"absent_at,omitempty"`
	// Replayed: the provider has answered an error again, so the key says nothing more.
	Replayed bool `json:"replayed,omitempty" bson:"replayed,omitempty"`
	// Candidates are the ids of what it may have created.
	Candidates []string `json:"candidates,omitempty" bson:"candidates,omitempty"`
}

// CommandResult is the provider's answer.
type CommandResult struct {
	// Status is the HTTP status. 0: it was found out without an answer.
	Status int `json:"status,omitempty"`
	// ID is the id of what was created. "" for everything else.
	ID string    `json:"id,omitempty"`
	At time.Time `json:"at"`
	// Body is JSON of at most 64 KiB. Nil: there was none, or a longer one.
	Body      []byte `json:"-"`
	RequestID string `json:"request_id,omitempty"`
}

// CommandQuestion is the question to an operator what became of a command.
type CommandQuestion struct {
	Since  time.Time `json:"since" bson:"since"`
	Reason string    `json:"reason" bson:"reason"`
	// Candidates are the ids of entities that it may have created.
	Candidates []string `json:"candidates,omitempty" bson:"candidates,omitempty"`
}

// Ref is an address of commands: an application's name for an entity, or the entity.
type Ref struct {
	// Lane is RefLane or the entity.
	Lane event.Key
	// N is the number of the lane's newest command.
	N int64
	// Entity is the entity that a ref names. Zero: its id is not known yet, or Lane is
	// the entity.
	Entity  event.Key
	Parents map[string]string
	// By is who bound it, a command's id or an operator's name, and At when.
	By string
	At time.Time
}

// CommandFilter selects commands; zero values select all.
type CommandFilter struct {
	States   []CommandState
	Source   string
	Kind, Op string
	Entity   event.Key
	Ref      string
	// From and To bound the time it was asked for: from ≤ at < to.
	From, To time.Time
	// Limit is the page size, 1 to 200. Defaults to 50.
	Limit  int
	Cursor string
}

// DueCommand is a command to be looked at.
type DueCommand struct {
	ID      string
	Lane    event.Key
	Parents map[string]string
	Bulk    bool
	Trace   string
	DueAt   time.Time
}

// CommandHold says that no worker performs a command of a source until an operator releases
// them. The rows of the commands stay as they are.
type CommandHold struct {
	Source string
	Since  time.Time
	// Reason is why, a sentence.
	Reason string
}

// CommandCount is how many commands of an operation are in a state.
type CommandCount struct {
	Source, Kind, Op string
	State            CommandState
	Count            int64
}

// CommandCounts is what metrics show of commands.
type CommandCounts struct {
	// Counts are those of all states but done, cancelled and discarded.
	Counts []CommandCount
	// AskedSince is when the longest open question was asked, by source.
	AskedSince map[string]time.Time
}

// Commands is the part of Store that keeps commands and refs. Errors are classified as
// those of Store are.
type Commands interface {
	// Ask adds a command as the last of its lane, unless it is there, and returns it as
	// it is stored: with its number, and queued, unless its State is dead: one that was
	// refused before it could be asked for is kept so. One that is there is returned as
	// it is by now; if its fingerprint differs, with an error that is ErrKeyReused.
	//
	// Two commands of a lane of which one was asked for after the other had been
	// answered have numbers in that order. Numbers that nothing has are harmless.
	Ask(ctx context.Context, c *Command) (*Command, error)
	// Command returns one, or ErrNotFound.
	Command(ctx context.Context, id string) (*Command, error)
	// List lists commands, newest At first.
	List(ctx context.Context, f CommandFilter) (Page[*Command], error)
	// Move stores everything from State on, if nothing has changed since c.Rev was read,
	// and raises c.Rev. False: another was faster, and c is as it was.
	Move(ctx context.Context, c *Command) (bool, error)

	// Open returns up to limit commands of a lane that are not final, in the order of N.
	Open(ctx context.Context, lane event.Key, limit int) ([]*Command, error)
	// Defer makes the queued commands of a lane behind a number due at a time, where
	// they are due earlier: they wait for the one of that number.
	Defer(ctx context.Context, lane event.Key, n int64, until time.Time) error
	// Forward moves a command to the end of another lane, and stores it as Move does.
	Forward(ctx context.Context, c *Command, lane event.Key) (bool, error)
	// Due returns up to limit commands of a source that are due at a time, those due
	// first before others, and the cursor to go on with; "" if it has reached the end.
	Due(ctx context.Context, source string, now time.Time, limit int, cursor string) (due []DueCommand, next string, err error)
	// Hold holds the commands of a source until they are released: those there are, and
	// those that are asked for meanwhile. A hold that is there stays as it is.
	Hold(ctx context.Context, h CommandHold) error
	// Release ends the hold of a source, and returns what it was, or ErrNotFound.
	Release(ctx context.Context, source string) (*CommandHold, error)
	// Holds returns all holds, in the order of their sources.
	Holds(ctx context.Context) ([]CommandHold, error)

	// Named returns the commands of the ids that there are, in no order.
	Named(ctx context.Context, ids []string) ([]*Command, error)
	// Owed returns up to limit commands of a source, at most MaxItems, that are owed to
	// the feed, as its items with Rev as the version, in the order of their ids: those with
	// a greater id than after. It reads no others.
	Owed(ctx context.Context, source, after string, limit int) ([]Item, error)
	// Paid notes that the feed has items, and returns how many commands are owed no more.
	// One that has changed meanwhile stays owed. Rev stays as it is.
	Paid(ctx context.Context, items []Item) (int, error)

	// Ref returns the address of a lane, or ErrNotFound.
	Ref(ctx context.Context, lane event.Key) (*Ref, error)
	// RefTo returns a ref that names an entity, or ErrNotFound.
	RefTo(ctx context.Context, entity event.Key) (*Ref, error)
	// Bind has a ref name an entity, unless it names one, and returns what it names.
	// Commands that wait for the ref become due, also if it was bound before.
	Bind(ctx context.Context, r Ref) (*Ref, error)
	// Rebind has a ref name another entity, whatever it names.
	Rebind(ctx context.Context, r Ref) (*Ref, error)

	// Counts counts the commands that are not over.
	Counts(ctx context.Context) (*CommandCounts, error)
}

// EmptyCommands removes what the commands of an entity hold of its content, of those that
// are over. Others lose it when they are. It may be repeated, and changes nothing then.
func EmptyCommands(ctx context.Context, commands Commands, entity event.Key) error {
	for f := (CommandFilter{Entity: entity, Limit: 200}); ; {
		found, err := commands.List(ctx, f)
		if err != nil {
			return err
		}
		for _, c := range found.Items {
			for moved := false; !moved && c.State.Final() && !c.IsEmpty(); {
				c.Empty()
				c.Owed = true // those who follow the feed replace what they have
				if moved, err = commands.Move(ctx, c); err != nil {
					return err
				}
				if !moved {
					if c, err = commands.Command(ctx, c.ID); err != nil {
						return err
					}
				}
			}
		}
		if f.Cursor = found.NextCursor; f.Cursor == "" {
			return nil
		}
	}
}
