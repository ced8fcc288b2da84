package outbound

import (
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// waitsAtMost is how long a command waits for the ids of what it names.
const waitsAtMost = time.Hour

// ReasonCreate is the Reason of a command that is dead since what it changes was never
// created.
const ReasonCreate = "create"

// Missing has a command wait for the ids of what its body names, or makes it dead after
// an hour.
func Missing(c *storage.Command, op *provider.Op, refs []provider.RefName, now time.Time) {
	names := make([]string, len(refs))
	for i, r := range refs {
		names[i] = r.String()
	}
	if c.WaitsSince.IsZero() {
		c.WaitsSince = now
	}
	waited := now.Sub(c.WaitsSince)
	if waited >= waitsAtMost {
		Die(c, op, "within an hour no id was known of "+strings.Join(names, ", "), now)
		return
	}
	c.WaitsFor, c.DueAt = names, now.Add(min(max(waited, 5*time.Second), time.Minute))
}

// Cycle makes a command dead that waits for what waits for it. way is from one command to
// the next, as KIND/REF.
func Cycle(c *storage.Command, op *provider.Op, way []string, now time.Time) {
	Die(c, op, "each waits for the id of the next: "+strings.Join(way, " → "), now)
}

// Command is a row as package provider has it.
func Command(c *storage.Command) provider.Command {
	out := provider.Command{Kind: c.Kind, Op: c.Op, Parents: c.Parents, Ref: c.Ref, Body: c.Body, Key: Key(c)}
	if c.Op != provider.OpCreate {
		out.ID = c.Entity().ID
	}
	return out
}
