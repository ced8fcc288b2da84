package commands

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// The limits, all of the 99th percentile.
const (
	promisedWithin = 20 * time.Millisecond
	effectWithin   = 60 * time.Millisecond // from the answer, with nothing else to do
	outboxWithin   = time.Second           // without a bell, which SQLite does not have
)

// Commands are the measurements, by name.
var Commands = map[string]func(ctx context.Context, args []string, out io.Writer) error{"commands": Measure}

// errMissed is the error of -check.
var errMissed = errors.New("a limit was missed")

// bench is one measurement under way.
type bench struct {
	*fleet.Fleet
	app              *fleet.Application
	out              io.Writer
	idle, many, left int
	products, asking int
	busied, bulk     int
	missed           bool

	mu sync.Mutex
	at map[string]time.Time // when a command was promised, by its id
}

// Measure measures commands.
func Measure(ctx context.Context, args []string, out io.Writer) (err error) {
	b := &bench{out: out, at: map[string]time.Time{}}
	flags := flag.NewFlagSet("commands", flag.ContinueOnError)
	flags.IntVar(&b.idle, "idle", 200, "commands asked for one after the other, 20 a second")
	flags.IntVar(&b.many, "many", 2000, "commands asked for as fast as possible")
	flags.IntVar(&b.left, "outbox", 50, "commands left in the outbox, 5 a second")
	flags.IntVar(&b.products, "products", 50, "entities they change")
	flags.IntVar(&b.asking, "asking", 8, "clients that ask as fast as possible")
	flags.IntVar(&b.busied, "busy", 75, "commands asked for 5 a second while live events could use more than the rate")
	flags.IntVar(&b.bulk, "bulk", 30_000, "bulk commands asked for as fast as possible")
	check := flags.Bool("check", false, "fail if a limit is missed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	programs, err := fleet.NewPrograms()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, programs.Close()) }()
	if err := b.free(ctx, programs); err != nil {
		return err
	}
	if err := b.pressed(ctx, programs, busyRate, b.busy); err != nil {
		return err
	}
	if err := b.pressed(ctx, programs, bulkRate, b.inBulk); err != nil {
		return err
	}
	if *check && b.missed {
		return errMissed
	}
	return nil
}

// plan is the fleet, at a provider that allows all that is asked.
var plan = fleet.Plan{
	Provider: simulator.Stripe, Commands: true, APIs: 1, Workers: 1, Reconcilers: 1, Shards: 16, Rate: 5000,
	Reconcile: "{gaps: {every: 24h}, sweep: {every: 168h}}", Level: "warn",
}

// free measures commands that no rate holds up.
func (b *bench) free(ctx context.Context, programs *fleet.Programs) (err error) {
	if b.Fleet, err = fleet.Start(ctx, programs, plan); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	b.app = b.NewApplication()
	for _, step := range []func(context.Context) error{b.create, b.slowly, b.fast, b.outbox} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// tell prints a line that ends with whether the limit was kept.
func (b *bench) tell(held bool, format string, args ...any) {
	word := "held"
	if !held {
		word, b.missed = "MISSED", true
	}
	fmt.Fprintf(b.out, format+": %s\n", append(args, word)...)
}

func (b *bench) product(i int) string { return fmt.Sprintf("bench-%d", i%b.products) }

// ask asks for a change of a product and returns how long the promise took.
func (b *bench) ask(ctx context.Context, key, op string, i int) (time.Duration, error) {
	return b.want(ctx, key, op, i, false)
}

// want is ask, for a bulk command too.
func (b *bench) want(ctx context.Context, key, op string, i int, bulk bool) (time.Duration, error) {
	w := wish(key, op, b.product(i))
	w.Bulk = bulk
	began := time.Now()
	err := b.app.Ask(ctx, key, b.product(i), w)
	now := time.Now()
	b.mu.Lock()
	b.at[storage.CommandID(fleet.Source, key)] = now
	b.mu.Unlock()
	return now.Sub(began), err
}

func wish(key, op, ref string) fleet.Wish {
	body, _ := json.Marshal(map[string]any{"name": key, "metadata": map[string]string{"wish": key}}) // see fleet.MarkedAt
	return fleet.Wish{Kind: "product", Op: op, Ref: ref, Body: body}
}

// create makes the products.
func (b *bench) create(ctx context.Context) error {
	for i := range b.products {
		if _, err := b.ask(ctx, fmt.Sprintf("create-%d", i), "create", i); err != nil {
			return err
		}
	}
	return b.over(ctx)
}

// slowly times commands that have nothing to wait for.
func (b *bench) slowly(ctx context.Context) error {
	var promised []time.Duration
	for i := range b.idle {
		took, err := b.ask(ctx, fmt.Sprintf("idle-%d", i), "update", i)
		if err != nil {
			return err
		}
		promised = append(promised, took)
		if err := fleet.Pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	if err := b.over(ctx); err != nil {
		return err
	}
	b.tell(at(promised, 0.99) <= promisedWithin, "commands: promise commands=%d p50=%s p99=%s (≤ %s)", len(promised), ms(promised, 0.5), ms(promised, 0.99), promisedWithin)
	effects, err := b.effects(ctx, "idle-")
	if err != nil {
		return err
	}
	b.tell(at(effects, 0.99) <= effectWithin, "commands: effect commands=%d p50=%s p99=%s (≤ %s)", len(effects), ms(effects, 0.5), ms(effects, 0.99), effectWithin)
	return b.covered(ctx, "idle-")
}

// covered tells how long commands took until they were answered, and until they were done.
func (b *bench) covered(ctx context.Context, prefix string) error {
	rows, err := b.Fleet.Commands(ctx)
	if err != nil {
		return err
	}
	var answered, covered []time.Duration
	for _, c := range rows {
		if len(c.Key) < len(prefix) || c.Key[:len(prefix)] != prefix {
			continue
		}
		if c.State != storage.CommandDone {
			return fmt.Errorf("command %s is %s: %s", c.Key, c.State, c.Reason)
		}
		answered, covered = append(answered, c.Result.At.Sub(c.At)), append(covered, c.EndedAt.Sub(c.At))
	}
	_, err = fmt.Fprintf(b.out, "commands: %s answered p50=%s p99=%s, done p50=%s p99=%s\n", prefix[:len(prefix)-1], ms(answered, 0.5), ms(answered, 0.99), ms(covered, 0.5), ms(covered, 0.99))
	return err
}

// fast tells how many commands one worker performs in a second.
func (b *bench) fast(ctx context.Context) error {
	began := time.Now()
	if err := b.askAll(ctx, "many", b.many, false); err != nil {
		return err
	}
	promised := time.Since(began)
	if err := b.over(ctx); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(b.out, "commands: many=%d promised_per_second=%.0f done_per_second=%.0f\n", b.many, float64(b.many)/promised.Seconds(), float64(b.many)/time.Since(began).Seconds()); err != nil {
		return err
	}
	return b.covered(ctx, "many-")
}

// askAll has all clients ask for changes at once. Those of one product are asked for by one
// client.
func (b *bench) askAll(ctx context.Context, name string, n int, bulk bool) error {
	errs := make(chan error, b.asking)
	for client := range b.asking {
		go func() {
			var err error
			for i := 0; i < n && err == nil; i++ {
				if i%b.products%b.asking == client {
					_, err = b.want(ctx, fmt.Sprintf("%s-%d", name, i), "update", i, bulk)
				}
			}
			errs <- err
		}()
	}
	var all error
	for range b.asking {
		all = errors.Join(all, <-errs)
	}
	return all
}

// outbox times commands from the end of the transaction that leaves them.
func (b *bench) outbox(ctx context.Context) error {
	for i := range b.left {
		key := fmt.Sprintf("outbox-%d", i)
		if err := b.app.Leave(ctx, key, b.product(i), int64(i), wish(key, "update", b.product(i))); err != nil {
			return err
		}
		b.at[storage.CommandID(fleet.Source, key)] = time.Now()
		if err := fleet.Pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	var open map[storage.CommandState]int
	err := fleet.WaitFor(ctx, time.Minute, func() string { return fmt.Sprintf("commands are not over: %v", open) }, func() (done bool, err error) {
		open, err = b.app.Open(ctx) // those that are not taken from the outbox too
		return err == nil && len(open) == 0, b.Died()
	})
	if err != nil {
		return err
	}
	effects, err := b.effects(ctx, "outbox-")
	if err != nil {
		return err
	}
	b.tell(at(effects, 0.99) <= outboxWithin, "commands: outbox commands=%d p50=%s p99=%s (≤ %s)", len(effects), ms(effects, 0.5), ms(effects, 0.99), outboxWithin)
	return nil
}

// over waits until all commands are over.
func (b *bench) over(ctx context.Context) error {
	var open int64
	return fleet.WaitFor(ctx, 20*time.Minute, func() string { return fmt.Sprintf("%d commands are not over", open) }, func() (bool, error) {
		// Not the rows themselves: to read a hundred thousand of them costs as much as to perform them.
		counts, err := b.Store.Commands().Counts(ctx)
		if err != nil {
			return false, err
		}
		open = 0
		for _, c := range counts.Counts {
			open += c.Count
		}
		return open == 0, b.Died()
	})
}

// effects are the times from the promise of commands to their effects.
func (b *bench) effects(ctx context.Context, prefix string) (took []time.Duration, err error) {
	writes, err := b.Simulator.Writes(ctx)
	if err != nil {
		return nil, err
	}
	had := map[string]time.Time{}
	for _, w := range writes {
		if w.Effect {
			had[fleet.MarkOf(w)] = w.At
		}
	}
	for _, a := range b.app.Asked() {
		if len(a.Key) < len(prefix) || a.Key[:len(prefix)] != prefix {
			continue
		}
		effect, ok := had[a.Key]
		if !ok {
			return nil, fmt.Errorf("command %s had no effect", a.Key)
		}
		took = append(took, max(0, effect.Sub(b.at[a.ID()])))
	}
	return took, nil
}

// at is the duration that a share is below.
func at(all []time.Duration, share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(share*float64(len(sorted))))]
}

func ms(all []time.Duration, share float64) string {
	return at(all, share).Round(100 * time.Microsecond).String()
}
