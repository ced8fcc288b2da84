package outbound

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// Wish is a change as an application asks for it.
type Wish struct {
	Source string
	// Key is the application's own name for the wish, 1 to 255 bytes.
	Key string
	// Kind and Op say what is to be done, in the words of the provider's definition.
	Kind, Op string
	// ID is the id of what is changed, Ref the application's own name for it. One of them
	// is given; a create has a Ref.
	ID, Ref string
	// Parents are the ids that it is under.
	Parents map[string]string
	// Body is a JSON object with the fields to be set. Nil: none.
	Body []byte
	// Bulk: everything that is more urgent goes first.
	Bulk bool
	// By is who asks, Trace the W3C traceparent of the request. Trace may be empty.
	By, Trace string
}

// Desk takes what applications and operators ask for.
type Desk struct {
	Commands storage.Commands
	// Definition returns the definition of a source, nil if there is none.
	Definition func(source string) *provider.Definition
	// Erased reports whether an entity is erased: a command that ends then keeps nothing of
	// its content. Nil: none is.
	Erased func(ctx context.Context, entity event.Key) (bool, error)
	// Hint appends hints: stream.Streams.AppendAll. An error loses nothing but a second.
	Hint func(ctx context.Context, hints []stream.Draft) ([]stream.Receipt, error)
	// Now is the clock for what is written down.
	Now func() time.Time
}

// never is a time that has always been: a command that was never begun is due by every
// clock.
var never = time.UnixMilli(1).UTC()

// Admit stores a wish as a command, hints, and returns the command. The same wish again is
// the same command, as it is by then. The error is a *provider.InvalidError that names
// what is wrong, storage.ErrKeyReused with the other command, or one of the store.
func (d Desk) Admit(ctx context.Context, w Wish) (*storage.Command, error) {
	c, err := d.command(w)
	if err != nil {
		return nil, err
	}
	if fault.Off("command-refs") { // it overtakes what waits in the lane of the ref
		if r, err := d.Commands.Ref(ctx, c.Lane); err == nil && !r.Entity.IsZero() {
			c.Lane = r.Entity
		}
	}
	stored, err := d.Commands.Ask(ctx, c)
	if err != nil {
		return stored, err
	}
	if !stored.State.Final() {
		d.hint(ctx, stored)
	}
	return stored, nil
}

// hint tells the worker of the command's lane. If it cannot, the poll does.
func (d Desk) hint(ctx context.Context, c *storage.Command) {
	_, _ = d.Hint(ctx, []stream.Draft{HintOf(c)})
}

// command checks a wish and makes a command of it.
func (d Desk) command(w Wish) (*storage.Command, error) {
	invalid := func(at, reason string) error { return &provider.InvalidError{At: at, Reason: reason} }
	if err := event.CheckID(w.Key); err != nil {
		return nil, invalid("key", err.Error())
	}
	def := d.Definition(w.Source)
	if def == nil {
		return nil, invalid("source", fmt.Sprintf("is %q, which is not configured", w.Source))
	}
	if w.Ref != "" && w.ID != "" {
		return nil, invalid("ref", "is given beside an id: want one of the two")
	}
	if _, ref := storage.RefOfLane(event.Key{ID: w.Ref + w.ID}); ref {
		return nil, invalid("ref", "begins with ~, which names no entity that can be commanded")
	}
	checked := provider.Command{Kind: w.Kind, Op: w.Op, ID: w.ID, Parents: w.Parents, Ref: w.Ref, Body: w.Body}
	if w.Ref != "" && w.Op != provider.OpCreate {
		if err := event.CheckID(w.Ref); err != nil {
			return nil, invalid("ref", err.Error())
		}
		checked.ID = w.Ref // its id is known later
	}
	if err := def.Check(checked); err != nil {
		return nil, err
	}
	lane := storage.RefLane(w.Source, w.Kind, w.Ref)
	if w.Ref == "" {
		ref, err := def.Ref(event.Key{Source: w.Source, Kind: w.Kind, ID: w.ID}, w.Parents)
		if err != nil {
			return nil, invalid("id", err.Error())
		}
		lane = ref.Key
	}
	print, err := fingerprint(w)
	if err != nil {
		return nil, invalid("body", "is not JSON: "+err.Error())
	}
	return &storage.Command{
		ID: storage.CommandID(w.Source, w.Key), Source: w.Source, Key: w.Key, Fingerprint: print, Kind: w.Kind, Op: w.Op, Ref: w.Ref,
		Parents: w.Parents, Body: w.Body, Bulk: w.Bulk, By: w.By, At: d.Now().UTC(), Trace: w.Trace, Lane: lane, DueAt: never,
	}, nil
}

// fingerprint is a hash of what a wish asks for, whatever the space in its body.
func fingerprint(w Wish) (string, error) {
	var body bytes.Buffer
	if len(w.Body) > 0 {
		if err := json.Compact(&body, w.Body); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal([]any{w.Kind, w.Op, w.ID, w.Ref, w.Parents, body.String()}) // maps are sorted
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16]), nil
}

// Cancel takes a command back that is queued.
func (d Desk) Cancel(ctx context.Context, id string) (*storage.Command, error) {
	return d.change(ctx, id, "queued", func(c *storage.Command, op *provider.Op) bool {
		ok := c.State == storage.CommandQueued
		if ok {
			end(c, op, storage.CommandCancelled, "", d.Now().UTC())
		}
		return ok
	})
}

// Retry queues a dead command again, with a new idempotency key. Secrets of its body are
// gone by then, so a command that had any is most likely refused.
func (d Desk) Retry(ctx context.Context, id string) (*storage.Command, error) {
	return d.change(ctx, id, "dead", func(c *storage.Command, _ *provider.Op) bool {
		if c.State != storage.CommandDead {
			return false
		}
		newKey(c)
		resumed(c)
		c.State, c.Request, c.Charged, c.Reason, c.EndedAt, c.DueAt = storage.CommandQueued, nil, 0, "", time.Time{}, never
		return true
	})
}

// Discard gives a command up that is dead or asked.
func (d Desk) Discard(ctx context.Context, id, reason string) (*storage.Command, error) {
	return d.change(ctx, id, "dead or asked", func(c *storage.Command, op *provider.Op) bool {
		ok := c.State == storage.CommandDead || c.State == storage.CommandAsked
		if ok {
			end(c, op, storage.CommandDiscarded, reason, d.Now().UTC())
		}
		return ok
	})
}

// Resolve answers the question what became of a command: it was done, and has created
// what id names if it is a create; or it was not.
func (d Desk) Resolve(ctx context.Context, id string, done bool, created string) (*storage.Command, error) {
	var wrong error
	c, err := d.change(ctx, id, "asked", func(c *storage.Command, op *provider.Op) bool {
		if c.State != storage.CommandAsked {
			return false
		}
		now := d.Now().UTC()
		switch {
		case !done:
			absent(c, nil, now)
			c.DueAt = never
		case c.Op == provider.OpCreate && event.CheckID(created) != nil:
			wrong = &provider.InvalidError{At: "id", Reason: "is missing: a create that was done has created something"}
			return false
		default:
			if c.Op != provider.OpCreate {
				created = ""
			}
			Answer(c, &storage.CommandResult{ID: created, At: now}, now)
			c.DueAt = never
		}
		return true
	})
	if wrong != nil {
		return c, wrong
	}
	return c, err
}

// change changes a command that is in a state for it, and hints.
func (d Desk) change(ctx context.Context, id, wants string, change func(*storage.Command, *provider.Op) bool) (*storage.Command, error) {
	for {
		c, err := d.Commands.Command(ctx, id)
		if err != nil {
			return nil, err
		}
		var op *provider.Op
		if def := d.Definition(c.Source); def != nil {
			op, _ = def.Op(c.Kind, c.Op)
		}
		if !change(c, op) {
			return c, &StateError{State: c.State, Wants: wants}
		}
		if err := d.emptyErased(ctx, c); err != nil {
			return nil, err
		}
		moved, err := d.Commands.Move(ctx, c)
		if err != nil {
			return nil, err
		}
		if moved {
			d.hint(ctx, c)
			return c, nil
		}
	}
}

// emptyErased empties a command that is over and whose entity is erased.
func (d Desk) emptyErased(ctx context.Context, c *storage.Command) error {
	entity := c.Entity()
	if d.Erased == nil || !c.State.Final() || entity.IsZero() {
		return nil
	}
	is, err := d.Erased(ctx, entity)
	if is {
		c.Empty()
	}
	return err
}

// Link says which entity a ref is to name.
type Link struct {
	Source, Kind, Ref string
	// ID is that of the entity, Parents the ids that it is under.
	ID      string
	Parents map[string]string
	// By is the operator who says so.
	By string
}

// Link has a ref name an entity, whatever it names, by an operator's word.
func (d Desk) Link(ctx context.Context, l Link) (*storage.Ref, error) {
	def := d.Definition(l.Source)
	if def == nil {
		return nil, &provider.InvalidError{At: "source", Reason: fmt.Sprintf("is %q, which is not configured", l.Source)}
	}
	if err := event.CheckID(l.Ref); err != nil || strings.HasPrefix(l.Ref, "~") {
		return nil, &provider.InvalidError{At: "ref", Reason: fmt.Sprintf("%q cannot be a ref", l.Ref)}
	}
	entity, err := def.Ref(event.Key{Source: l.Source, Kind: l.Kind, ID: l.ID}, l.Parents)
	if err != nil {
		return nil, &provider.InvalidError{At: "id", Reason: err.Error()}
	}
	lane := storage.RefLane(l.Source, l.Kind, l.Ref)
	bound, err := d.Commands.Rebind(ctx, storage.Ref{Lane: lane, Entity: entity.Key, Parents: entity.Parents, By: l.By, At: d.Now().UTC()})
	if err != nil {
		return nil, err
	}
	_, _ = d.Hint(ctx, []stream.Draft{Hint(storage.DueCommand{ID: l.By, Lane: lane})}) // what waits there is forwarded
	return bound, nil
}
