package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	sim "github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// commandsVerdict has the figures of commands; see the package comment.
type commandsVerdict struct {
	promised, done, dead, cancelled, asked                                 int
	lost, doubled, denied, misordered, limbo, uncovered, rebytes, needless int
	attempts, repeats                                                      int
}

func (v commandsVerdict) String() string {
	return fmt.Sprintf("commands: promised=%d done=%d dead=%d cancelled=%d asked=%d lost=%d doubled=%d denied=%d misordered=%d limbo=%d uncovered=%d rebytes=%d needless=%d attempts=%d repeats=%d",
		v.promised, v.done, v.dead, v.cancelled, v.asked, v.lost, v.doubled, v.denied, v.misordered, v.limbo, v.uncovered, v.rebytes, v.needless, v.attempts, v.repeats)
}

// clean reports whether all that must be 0 is.
func (v commandsVerdict) clean() bool {
	return v.lost+v.doubled+v.denied+v.misordered+v.limbo+v.uncovered+v.rebytes+v.needless == 0
}

// buyers is how many threads the application has. Each changes one entity at a time.
// FerretDB, which does one thing at a time, has few.
func (o options) buyers() int {
	if o.mongoDB {
		return 2
	}
	return 8
}

// buyer is one thread of the application.
type buyer struct {
	c    *chaos
	name string
	r    *rand.Rand
	n    int
	seq  int64
	// leaves: the present entity's wishes go to the outbox.
	leaves bool
	// accounts are those of lemon that are changed.
	accounts []string
}

// buy starts the application, and returns what waits for its end.
func (c *chaos) buy(ctx context.Context) (wait func()) {
	if !c.options.commands {
		return func() {}
	}
	c.app = c.fleet.NewApplication()
	done := make(chan struct{}, c.buyers())
	for i := range c.buyers() {
		go func() {
			defer func() { done <- struct{}{} }()
			b := &buyer{c: c, name: fmt.Sprintf("b%d", i), r: rand.New(rand.NewPCG(c.seed, uint64(100+i)))}
			if err := b.run(ctx); err != nil {
				c.check(fmt.Errorf("application: %w", err))
			}
		}()
	}
	return func() {
		for range c.buyers() {
			<-done
		}
	}
}

// run changes one entity after the other until the time for faults is over. What it has
// begun to ask for it asks for until that is promised.
func (b *buyer) run(ctx context.Context) error {
	if b.c.options.provider != sim.Stripe {
		if err := b.findAccounts(ctx); err != nil {
			return err
		}
	}
	for b.c.over.Err() == nil {
		b.n++
		b.leaves = b.r.IntN(4) == 0
		story := b.product
		if b.c.options.provider != sim.Stripe {
			if story = b.order; b.r.IntN(3) == 0 {
				story = b.withdrawal
			}
		}
		if err := story(ctx, fmt.Sprintf("%s-%d", b.name, b.n)); err != nil {
			return err
		}
	}
	return nil
}

// findAccounts waits until there are accounts.
func (b *buyer) findAccounts(ctx context.Context) error {
	return fleet.WaitFor(ctx, time.Minute, func() string { return "there are no accounts" }, func() (bool, error) {
		truth, err := b.c.fleet.Simulator.Truth(ctx)
		if err != nil {
			return false, err
		}
		for _, t := range truth {
			if t.Kind == "account" && !t.Deleted {
				b.accounts = append(b.accounts, t.ID)
			}
		}
		slices.Sort(b.accounts)
		b.accounts = b.accounts[:min(len(b.accounts), 10)]
		return len(b.accounts) > 0, nil
	})
}

// wish asks for one change of what is called ref, by the api or by the outbox, and now and
// then takes it back at once.
func (b *buyer) wish(ctx context.Context, w fleet.Wish, body map[string]any) (err error) {
	b.seq++
	key := fmt.Sprintf("%s/%s/%s/%d", w.Kind, w.Ref, w.Op, b.seq)
	if w.Op == "update" {
		body["metadata"] = map[string]string{"wish": key} // see fleet.MarkedAt
	}
	if body != nil {
		if w.Body, err = json.Marshal(body); err != nil {
			return err
		}
	}
	entity := w.Kind + "/" + w.Ref
	promise := func() error { return b.c.app.Ask(ctx, key, entity, w) }
	if b.leaves {
		promise = func() error { return b.c.app.Leave(ctx, key, entity, b.seq, w) }
	}
	if err := promise(); err != nil {
		return err
	}
	if w.Op != "create" && !b.leaves && b.r.IntN(12) == 0 {
		if err := b.c.app.Withdraw(ctx, key); err != nil {
			return err
		}
	}
	b.c.sleep(between(b.r, 0, 0.3))
	return nil
}

var person = map[string]string{"type": "person", "person": "pers_1"}

// order makes an order and confirms it, cancels it, or both.
func (b *buyer) order(ctx context.Context, ref string) error {
	w := fleet.Wish{Kind: "order", Op: "create", Ref: ref, Parents: map[string]string{"account": b.accounts[b.r.IntN(len(b.accounts))]}}
	if err := b.wish(ctx, w, map[string]any{
		"side": "buy", "type": "market", "instrument": "US0378331005", "amount": fmt.Sprintf("%d.00", 10+b.r.IntN(90)),
		"fees": map[string]string{"base_amount": "0"}, "currency": "EUR",
	}); err != nil {
		return err
	}
	if b.r.IntN(2) == 0 {
		w.Op = "confirm"
		if err := b.wish(ctx, w, map[string]any{"sca": map[string]string{"client_credential_id": "cc_1", "signature": "c2ln"}, "actor": person}); err != nil {
			return err
		}
	}
	if b.r.IntN(2) == 0 {
		w.Op = "cancel"
		if err := b.wish(ctx, w, map[string]any{"actor": person}); err != nil {
			return err
		}
	}
	return nil
}

// withdrawal pays money out: often the same amount, so that two of them look alike.
func (b *buyer) withdrawal(ctx context.Context, ref string) error {
	w := fleet.Wish{Kind: "withdrawal", Op: "create", Ref: ref, Parents: map[string]string{"account": b.accounts[b.r.IntN(min(2, len(b.accounts)))]}}
	amount := fmt.Sprintf("%d.%02d", 10+b.r.IntN(1000), b.r.IntN(100))
	if b.r.IntN(3) == 0 {
		amount = "12.34"
	}
	if err := b.wish(ctx, w, map[string]any{"amount": amount, "currency": "EUR"}); err != nil {
		return err
	}
	w.Op = "confirm"
	return b.wish(ctx, w, map[string]any{"sca": map[string]string{"client_credential_id": "cc_1", "signature": "c2ln"}})
}

// product makes a product, changes it, gives it a price or deletes it.
func (b *buyer) product(ctx context.Context, ref string) error {
	w := fleet.Wish{Kind: "product", Op: "create", Ref: ref}
	if err := b.wish(ctx, w, map[string]any{"name": ref}); err != nil {
		return err
	}
	w.Op = "update"
	for i := range b.r.IntN(4) {
		if err := b.wish(ctx, w, map[string]any{"name": fmt.Sprintf("%s.%d", ref, i)}); err != nil {
			return err
		}
	}
	if b.r.IntN(3) == 0 {
		w.Op = "delete"
		return b.wish(ctx, w, nil)
	}
	price := fleet.Wish{Kind: "price", Op: "create", Ref: ref + "-m"}
	if err := b.wish(ctx, price, map[string]any{
		"product": map[string]string{"$ref": "product/" + ref}, "currency": "eur", "unit_amount": 100 + b.r.IntN(1000),
	}); err != nil {
		return err
	}
	price.Op = "update"
	for i := range b.r.IntN(3) {
		if err := b.wish(ctx, price, map[string]any{"nickname": fmt.Sprint("n", i)}); err != nil {
			return err
		}
	}
	w.Op = "archive"
	return b.wish(ctx, w, nil)
}

// answerWithin is how long it may take, once all is calm, until every command is over. A
// worker that is dead is waited for longer than its request may take, and what is not seen
// is looked for twice.
const answerWithin = 3 * time.Minute

// kept waits until every command is over, answering what operators are asked, or for as long
// as that may take.
func (c *chaos) kept() error {
	if c.app == nil {
		return nil
	}
	within, pause := min(answerWithin, c.drain), time.Second
	if c.mongoDB {
		within, pause = c.drain, 5*time.Second // it takes seconds to answer which are open
	}
	end, told := time.Now().Add(within), time.Now()
	for time.Now().Before(end) && c.ctx.Err() == nil {
		n, err := c.fleet.Answer(c.ctx)
		if c.answered += n; err != nil {
			c.say("could not answer what operators are asked: %v", err)
		}
		if c.known() {
			return nil
		}
		open, err := c.app.Open(c.ctx)
		if err == nil && len(open) == 0 {
			c.say("every command is over")
			return c.settle()
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			c.say("commands under way: %v (%v)", open, err)
		}
		if err := fleet.Pause(c.ctx, pause); err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

// judgeCommands compares what was promised with what the provider did.
func (c *chaos) judgeCommands(tell teller) (v commandsVerdict, err error) {
	if c.app == nil {
		return v, nil
	}
	asked := c.app.Asked()
	p, err := c.fleet.Promised(c.ctx, asked)
	if err != nil {
		return v, err
	}
	v.promised, v.asked, v.attempts, v.repeats = len(asked), c.answered, p.Attempts, p.Repeats
	v.done, v.dead, v.cancelled = p.States[storage.CommandDone], p.States[storage.CommandDead], p.States[storage.CommandCancelled]
	for _, f := range []struct {
		what string
		list []string
		to   *int
	}{
		{"lost", p.Lost, &v.lost}, {"doubled", p.Doubled, &v.doubled}, {"denied", p.Denied, &v.denied}, {"misordered", p.Misordered, &v.misordered},
		{"limbo", p.Limbo, &v.limbo}, {"uncovered", p.Uncovered, &v.uncovered}, {"rebytes", p.Rebytes, &v.rebytes}, {"needless", p.Needless, &v.needless},
	} {
		*f.to = tell("command "+f.what, f.list)
	}
	return v, nil
}
