package feed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// The types of changes.
const (
	TypeChanged = "dev.tarn.entity.changed"
	TypeDeleted = "dev.tarn.entity.deleted"
	TypeErased  = "dev.tarn.entity.erased"

	// Those of commands that rest end in their state.
	TypeCommandDone      = commandType + string(storage.CommandDone)
	TypeCommandDead      = commandType + string(storage.CommandDead)
	TypeCommandAsked     = commandType + string(storage.CommandAsked)
	TypeCommandCancelled = commandType + string(storage.CommandCancelled)
	TypeCommandDiscarded = commandType + string(storage.CommandDiscarded)
	// TypeCommandResumed: it was asked or dead, and is under way again.
	TypeCommandResumed = commandType + "resumed"
)

// commandType begins the types of changes of commands.
const commandType = "dev.tarn.command."

// Change is an item of the feed as consumers get it: an event as CloudEvents 1.0 has
// it. Its data is what the mirror holds, or how far a command is, when it is delivered, so
// that the version may be later than the one that the feed has at its position.
type Change struct {
	SpecVersion     string `json:"specversion" enum:"1.0"`
	ID              string `json:"id" doc:"Subject and version. What is delivered again has the same id." example:"order/bord_1@12"`
	Source          string `json:"source" doc:"/tarn/ and the name of the source." example:"/tarn/lemon"`
	Type            string `json:"type" enum:"dev.tarn.entity.changed,dev.tarn.entity.deleted,dev.tarn.entity.erased,dev.tarn.command.done,dev.tarn.command.dead,dev.tarn.command.asked,dev.tarn.command.cancelled,dev.tarn.command.discarded,dev.tarn.command.resumed"`
	Subject         string `json:"subject" doc:"The entity: kind/id, or kind@parents/id where an id is unique under its parents only. A command: command/id." example:"order/bord_1"`
	Time            Moment `json:"time" doc:"When the change was added to the feed; in a snapshot, when the state was fetched."`
	DataContentType string `json:"datacontenttype" enum:"application/json"`
	PartitionKey    string `json:"partitionkey" doc:"The subject, with its source." example:"lemon/order/bord_1"`
	Sequence        string `json:"sequence,omitempty" doc:"Position in the feed, with 20 digits. Absent in a snapshot."`
	Data            any    `json:"data"`
}

// ErasedEntity is the data of an entity of which the mirror keeps no state.
type ErasedEntity struct {
	Source  string `json:"source"`
	Kind    string `json:"kind"`
	ID      string `json:"id"`
	Version int64  `json:"version"`
}

// Subject names an entity or a command within its source.
func Subject(k event.Key) string {
	if _, ok := storage.CommandOfItem(k); ok {
		return "command/" + k.ID
	}
	return k.String()[len(k.Source)+1:]
}

// newChange makes a change without a type and data.
func newChange(k event.Key, at time.Time) *Change {
	subject := Subject(k)
	return &Change{
		SpecVersion: "1.0", Source: "/tarn/" + k.Source, Subject: subject, Time: MomentOf(at),
		DataContentType: "application/json", PartitionKey: k.Source + "/" + subject,
	}
}

// newCommandChange makes a change of a command.
func newCommandChange(k event.Key, c *storage.Command, view View, at time.Time) *Change {
	out := newChange(k, at)
	if out.Type = TypeCommandResumed; c.State.Rests() {
		out.Type = commandType + string(c.State)
	}
	out.ID, out.Data = fmt.Sprintf("%s@%d", out.Subject, c.Rev), view.Whole(c)
	return out
}

// NewChange makes a change of what the mirror holds of an entity. d is nil or was never
// fetched if it holds nothing; version is the one in the feed.
func NewChange(k event.Key, d *storage.Document, version int64, at time.Time) *Change {
	c := newChange(k, at)
	switch {
	case d == nil || !d.Known():
		c.Type, c.Data = TypeErased, ErasedEntity{Source: k.Source, Kind: k.Kind, ID: k.ID, Version: version}
	case !d.DeletedAt.IsZero():
		c.Type = TypeDeleted
	default:
		c.Type = TypeChanged
	}
	if c.Data == nil {
		version = d.Version
		c.Data = EntityOf(d)
	}
	c.ID = fmt.Sprintf("%s@%d", c.Subject, version)
	return c
}

// Encode returns the change as JSON in one line.
func (c *Change) Encode() ([]byte, error) {
	var out bytes.Buffer
	to := json.NewEncoder(&out)
	to.SetEscapeHTML(false)
	if err := to.Encode(c); err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.ID, err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
