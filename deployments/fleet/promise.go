package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	sim "github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Promises is what became of the commands that an application was promised, by what the
// provider knows itself.
type Promises struct {
	// States counts the commands by their states.
	States map[storage.CommandState]int
	// Attempts are the requests that the provider got, Repeats those that had the same effect
	// once more, of operations that may be repeated.
	Attempts, Repeats int
	// Lost were promised and are not in the store, or are done and had no effect, or are
	// said to have made what another command has made.
	Lost []string
	// Doubled had more than one effect, or are effects that none asked for.
	Doubled []string
	// Denied are dead or cancelled, and had an effect.
	Denied []string
	// Misordered had their effects, or have their numbers, in another order than that in
	// which they were asked for.
	Misordered []string
	// Limbo are neither over nor a question to an operator.
	Limbo []string
	// Uncovered are done, and no fetch after the answer is in the mirror.
	Uncovered []string
	// Rebytes were sent with other bytes, or to another path, than before.
	Rebytes []string
	// Needless were asked though no attempt was without an answer.
	Needless []string
}

// promises is one look at what became of commands.
type promises struct {
	Promises
	definition *provider.Definition
	rows       map[string]*storage.Command // by id
	asked      map[string]Asked            // by id of the command
	effects    map[string][]sim.WriteFacts // by id of the command
	writes     map[string][]sim.WriteFacts
}

// Promised compares what was promised with what the provider did.
func (f *Fleet) Promised(ctx context.Context, asked []Asked) (*Promises, error) {
	p := &promises{
		rows: map[string]*storage.Command{}, asked: map[string]Asked{},
		effects: map[string][]sim.WriteFacts{}, writes: map[string][]sim.WriteFacts{},
	}
	p.States = map[storage.CommandState]int{}
	var err error
	if p.definition, err = f.Definition(); err != nil {
		return nil, err
	}
	for _, a := range asked {
		p.asked[a.ID()] = a
	}
	rows, err := f.Commands(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range rows {
		p.rows[c.ID] = c
		p.States[c.State]++
	}
	writes, err := f.Simulator.Writes(ctx)
	if err != nil {
		return nil, err
	}
	p.Attempts = len(writes)
	for _, w := range writes {
		p.assign(w)
	}
	for _, a := range asked {
		p.judge(a)
	}
	p.order(asked, writes)
	return &p.Promises, f.covered(ctx, rows, &p.Promises)
}

// Commands returns all commands of the store, newest first.
func (f *Fleet) Commands(ctx context.Context) ([]*storage.Command, error) {
	var all []*storage.Command
	for filter := (storage.CommandFilter{Limit: 200}); ; {
		page, err := f.Store.Commands().List(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("read the commands: %w", err)
		}
		all = append(all, page.Items...)
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			return all, nil
		}
	}
}

// MarkedAt is where a change of Stripe that has no idempotency key says under which key it was
// asked for.
const MarkedAt = "metadata[wish]"

// MarkOf is the key that a change says it was asked for under; "" if it does not.
func MarkOf(w sim.WriteFacts) string {
	form, err := url.ParseQuery(w.Body)
	if err != nil {
		return ""
	}
	return form.Get(MarkedAt)
}

// commandIDLength is that of an id: cmd_ and 32 hexadecimal digits.
const commandIDLength = 36

// commandOf is the id of the command that a request was sent for; "" if none is known.
func (p *promises) commandOf(w sim.WriteFacts) string {
	if id, ok := strings.CutPrefix(w.Why, "command-"); ok {
		return id
	}
	if strings.HasPrefix(w.Key, "cmd_") && len(w.Key) >= commandIDLength {
		return w.Key[:commandIDLength]
	}
	if key := MarkOf(w); key != "" {
		return storage.CommandID(Source, key)
	}
	for id, c := range p.rows { // what carries nothing is done once to each entity
		if c.Kind == w.Kind && c.Entity().ID == w.ID && (c.Op == w.Op && w.Op == provider.OpDelete || c.Op == "archive" && w.Op == provider.OpUpdate) {
			return id
		}
	}
	return ""
}

func (p *promises) assign(w sim.WriteFacts) {
	id := p.commandOf(w)
	p.writes[id] = append(p.writes[id], w)
	if w.Effect {
		p.effects[id] = append(p.effects[id], w)
		if _, known := p.asked[id]; !known {
			p.Doubled = append(p.Doubled, fmt.Sprintf("%s %s of %s, request %d, was promised to no application: key %q, why %q", w.Op, w.Kind, w.ID, w.Seq, w.Key, w.Why))
		}
	}
}

// judge looks at one command.
func (p *promises) judge(a Asked) {
	id := a.ID()
	c := p.rows[id]
	effects := p.effects[id]
	about := fmt.Sprintf("%s %s of %s, %s", a.Kind, a.Op, a.Entity, id)
	if c == nil {
		p.Lost = append(p.Lost, about+" is not in the store")
		return
	}
	about += " (" + string(c.State) + ")"
	switch {
	case c.State == storage.CommandDone && len(effects) == 0 && !p.gone(c):
		p.Lost = append(p.Lost, about+" had no effect"+p.story(id))
	case c.State == storage.CommandDone && c.Op == provider.OpCreate && len(effects) > 0 && c.Entity().ID != effects[0].ID:
		p.Lost = append(p.Lost, about+" names what another has made"+p.story(id))
	case (c.State == storage.CommandDead || c.State == storage.CommandCancelled) && len(effects) > 0:
		p.Denied = append(p.Denied, fmt.Sprintf("%s had an effect, reason %q%s", about, c.Reason, p.story(id)))
	case !c.State.Final() && c.State != storage.CommandAsked:
		p.Limbo = append(p.Limbo, about+p.story(id))
	}
	if len(effects) > 1 {
		if p.repeats(a) {
			p.Repeats += len(effects) - 1
		} else {
			p.Doubled = append(p.Doubled, about+p.story(id))
		}
	}
	for _, w := range p.writes[id] {
		if first := p.writes[id][0]; w.Body != first.Body || w.Path != first.Path || w.Method != first.Method {
			p.Rebytes = append(p.Rebytes, about+p.story(id))
			break
		}
	}
	if c.State == storage.CommandAsked && !slices.ContainsFunc(c.Attempts, func(t storage.CommandAttempt) bool {
		return t.Status == 0 || t.Status == 408 || t.Status >= 500 || t.Status < 300
	}) {
		p.Needless = append(p.Needless, about)
	}
}

// gone reports whether what was wanted was so before: a delete of what is not there.
func (p *promises) gone(c *storage.Command) bool {
	return c.Op == provider.OpDelete && c.Result != nil && c.Result.Status == 404
}

// repeats reports whether an operation may have the same effect again.
func (p *promises) repeats(a Asked) bool {
	op, err := p.definition.Op(a.Kind, a.Op)
	return err == nil && slices.Contains(op.Unclear, provider.ByRepeat)
}

// story is what the provider and the store know of a command.
func (p *promises) story(id string) string {
	var s strings.Builder
	for _, w := range p.writes[id] {
		fmt.Fprintf(&s, "\n  request %d at %s: %d %s effect=%t replayed=%t key=%q %s %s %s", w.Seq, w.At.Format("15:04:05.000"), w.Status, w.Answer, w.Effect, w.Replayed, w.Key, w.ID, w.Path, w.Body)
	}
	if c := p.rows[id]; c != nil {
		text, _ := json.Marshal(struct {
			Lane                        event.Key
			N                           int64
			State                       storage.CommandState
			DueAt                       any
			Attempts, Doubt, Result, By any
			WaitsFor                    []string
		}{c.Lane, c.N, c.State, c.DueAt, c.Attempts, c.Doubt, c.Result, c.CoveredBy, c.WaitsFor}) // it is for eyes
		s.WriteString("\n  row " + string(text))
	}
	return s.String()
}

// order compares the order of effects, and of numbers, with that of the wishes.
func (p *promises) order(asked []Asked, writes []sim.WriteFacts) {
	last := map[string]Asked{} // by entity
	for _, w := range writes {
		a, known := p.asked[p.commandOf(w)]
		if !w.Effect || !known {
			continue
		}
		if before := last[a.Entity]; before.Place > a.Place {
			p.Misordered = append(p.Misordered, fmt.Sprintf("%s of %s, asked for as number %d, had its effect after %s, number %d%s%s",
				a.Op, a.Entity, a.Place, before.Op, before.Place, p.story(a.ID()), p.story(before.ID())))
			continue
		}
		last[a.Entity] = a
	}
	clear(last)
	for _, a := range asked {
		c, before := p.rows[a.ID()], last[a.Entity]
		if c == nil {
			continue
		}
		if b := p.rows[before.ID()]; b != nil && b.Lane == c.Lane && b.N > c.N {
			p.Misordered = append(p.Misordered, fmt.Sprintf("%s of %s, asked for as number %d, is number %d, and number %d is %d", a.Op, a.Entity, a.Place, c.N, before.Place, b.N))
		}
		last[a.Entity] = a
	}
}

// clockGrain is how far apart the clocks of Redis and of a worker may be, on one machine.
const clockGrain = 50 * time.Millisecond

// covered looks for commands that are done though the mirror does not show it.
func (f *Fleet) covered(ctx context.Context, rows []*storage.Command, p *Promises) error {
	for _, c := range rows {
		if c.State != storage.CommandDone {
			continue
		}
		doc, err := f.Store.Entity(ctx, c.Entity())
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return fmt.Errorf("read the mirror: %w", err)
		}
		by := c.CoveredBy
		switch about := fmt.Sprintf("%s %s of %s, %s", c.Kind, c.Op, c.Lane, c.ID); {
		case by == nil || c.Result == nil:
			p.Uncovered = append(p.Uncovered, about+" is done by nothing")
		case by.FetchedAt.Before(c.Result.At.Add(-clockGrain)):
			p.Uncovered = append(p.Uncovered, fmt.Sprintf("%s was answered at %s and is covered by a fetch of %s", about, c.Result.At, by.FetchedAt))
		case doc == nil:
			p.Uncovered = append(p.Uncovered, about+" is not in the mirror")
		case doc.SyncedClaim < by.Claim:
			p.Uncovered = append(p.Uncovered, fmt.Sprintf("%s is covered by claim %d, and the mirror is of claim %d", about, by.Claim, doc.SyncedClaim))
		}
	}
	return nil
}

// Answer answers the questions what became of commands, as an operator does who looks at the
// provider. It returns how many there were.
func (f *Fleet) Answer(ctx context.Context) (answered int, err error) {
	page, err := f.Store.Commands().List(ctx, storage.CommandFilter{States: []storage.CommandState{storage.CommandAsked}, Limit: 200})
	if err != nil || len(page.Items) == 0 {
		return 0, err
	}
	writes, err := f.Simulator.Writes(ctx)
	if err != nil {
		return 0, err
	}
	p := &promises{}
	made := map[string]string{} // what commands have made or changed, by their ids
	for _, w := range writes {
		if w.Effect {
			made[p.commandOf(w)] = w.ID
		}
	}
	for _, c := range page.Items {
		said := map[string]string{"outcome": "absent"}
		if id := made[c.ID]; id != "" {
			if said["outcome"] = "done"; c.Op == provider.OpCreate {
				said["id"] = id
			}
		}
		if err := f.Operate(ctx, http.MethodPost, "/v1/commands/"+c.ID+"/resolve", said, nil); err != nil {
			return answered, err
		}
		answered++
	}
	return answered, nil
}
