package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	sim "github.com/tarn-sync/tarn/deployments/simulator"
)

// chaos is one run under way.
type chaos struct {
	options
	ctx   context.Context
	fleet *fleet.Fleet
	out   io.Writer
	began time.Time
	// over ends when the time for faults is over.
	over context.Context

	// consumers follow the change feed, and receiver is sent it; nil if none is.
	consumers []*fleet.Consumer
	receiver  *fleet.Receiver
	// app asks for changes at the provider, nil if none does; answered is how many questions
	// to an operator came of that.
	app      *fleet.Application
	bought   func() // waits until it has asked for all that it will
	answered int
	// decided: the verdict of a control will not change any more.
	decided bool

	mu       sync.Mutex
	at       sim.Chaos // the provider as it is now
	reserved map[string]bool
	outages  []fleet.Outage
	failures []error
}

// run is one run, from the first process to the verdict. An error means that
// there is none: the harness failed.
func run(ctx context.Context, programs *fleet.Programs, o options, out io.Writer) (v verdict, err error) {
	o = o.withDefaults()
	plan, err := schedule(o)
	if err != nil {
		return v, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.duration+o.drain+10*time.Minute)
	defer cancel()
	c := &chaos{options: o, ctx: ctx, out: out, began: time.Now(), at: o.usual(), reserved: map[string]bool{}}
	for _, line := range o.announcement() {
		c.say("%s", line)
	}
	deaf, err := c.receive()
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, deaf()) }()
	if c.fleet, err = fleet.Start(ctx, programs, c.plan()); err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, c.fleet.Close()) }()
	defer c.follow()()
	for _, step := range []func() error{
		func() error { return c.fleet.Simulator.Chaos(ctx, o.usual()) },
		c.startLoad,
		func() error { return c.goWrong(plan) },
		c.calm,
		c.kept,
		c.caughtUp,
	} {
		if err := step(); err != nil {
			return v, err
		}
	}
	if o.control != nil {
		return o.control.look(c, c.found)
	}
	if err := c.readLogs(); err != nil {
		return v, err
	}
	return c.judge()
}

// mostLines is how many bad lines of logs are shown.
const mostLines = 20

// readLogs notes the lines of the members' logs that no operator should have to read:
// where much fails, much is logged.
func (c *chaos) readLogs() error {
	private, err := c.fleet.Private(c.ctx)
	if err != nil {
		return err
	}
	bad := c.fleet.BadLines(private)
	for _, line := range bad[:min(len(bad), mostLines)] {
		c.check(fmt.Errorf("log of %s", line))
	}
	return nil
}

// announcement is what a run says of itself before it starts.
func (o options) announcement() []string {
	lines := []string{fmt.Sprintf("seed=%d duration=%s rate=%v entities=%d; starting", o.seed, o.duration, o.rate, o.entities)}
	if len(o.odd) > 0 {
		lines = append(lines, fmt.Sprintf("the provider is odd: %v", &o.odd))
	}
	for _, f := range faults {
		if o.provider == sim.Stripe && f.shows {
			lines = append(lines, fmt.Sprintf("%s is left out: no object of %s proves that an answer is old, so the mirror would show it until the second look", f.name, o.provider))
		}
	}
	return lines
}

// usual is the provider when nothing in particular is wrong.
func (o options) usual() sim.Chaos {
	usual := sim.Chaos{Duplicate: 0.05, Reorder: 0.2, MaxDelay: seconds(0.5), Latency: sim.Duration(o.latency), HangFor: seconds(3), SlowFor: seconds(2)}
	if o.commands && len(o.only) == 0 { // else what is unclear comes by its faults
		usual.LoseAnswer, usual.ResetAnswer, usual.ErrorBefore, usual.ErrorAfter, usual.SlowAnswer = 0.02, 0.02, 0.02, 0.02, 0.02
	}
	return o.odd.Chaos(usual)
}

func (c *chaos) startLoad() error {
	return c.fleet.Simulator.StartLoad(c.ctx, c.odd.Load(sim.Load{
		Entities: c.entities, Events: max(c.entities, int(c.rate*c.duration.Seconds())), Rate: c.rate,
	}))
}

// goWrong makes the schedule happen and returns when all of it is over.
func (c *chaos) goWrong(plan []event) error {
	var end context.CancelFunc
	c.began = time.Now()
	c.over, end = context.WithTimeout(c.ctx, c.duration)
	defer end()
	var under sync.WaitGroup
	for _, e := range plan {
		under.Go(func() {
			if c.sleep(time.Until(c.began.Add(e.at))); c.over.Err() == nil {
				e.do(c, rand.New(rand.NewPCG(e.seed, 2)))
			}
		})
	}
	c.bought = c.buy(c.ctx)
	under.Go(c.watch)
	under.Go(func() { c.endOnceKnown(end) })
	under.Wait()
	return c.ctx.Err()
}

// watch notes members that end by themselves, and starts them again.
func (c *chaos) watch() {
	for c.over.Err() == nil {
		for _, m := range c.fleet.Members("") {
			if err := m.Died(); err != nil {
				c.check(err)
				c.check(m.Start())
			}
		}
		c.sleep(200 * time.Millisecond)
	}
}

// calm ends all faults, waits until every event is accepted, and settles.
func (c *chaos) calm() error {
	if c.known() {
		c.bought()
		return nil
	}
	c.say("calm")
	if err := c.fleet.Simulator.Chaos(c.ctx, sim.Chaos{}); err != nil {
		return err
	}
	for _, m := range c.fleet.Members("") {
		if c.isReserved(m.Name) {
			continue // it left for good
		}
		c.check(m.WaitReady(c.ctx, max(c.drain/3, readyWithin)))
	}
	if err := c.fleet.Simulator.WaitSent(c.ctx, 5*time.Minute); err != nil {
		return err
	}
	c.say("all events are accepted")
	c.bought()
	return c.settle()
}

// readyWithin is how long a member may take, at least, until it is ready once all is
// calm.
const readyWithin = 4 * time.Second

// settle makes parked entities due and waits until no work is left, for as long as
// the options allow, or until the verdict is known. The verdict counts what is
// left then. Without a reconciler the wait is over as well once workers have nothing
// left to do and events are open or not in the log: no process would bring them back.
func (c *chaos) settle() error {
	end, told := time.Now().Add(c.drain), time.Now()
	pause := time.Second
	if c.mongoDB {
		pause = 5 * time.Second // it takes seconds to answer what is open
	}
	for time.Now().Before(end) && c.ctx.Err() == nil {
		if _, err := c.fleet.Streams.RetryParked(c.ctx, fleet.Source); err != nil {
			c.say("could not make parked entities due: %v", err)
		}
		if c.known() {
			return nil
		}
		left, err := c.fleet.Left(c.ctx)
		if err == nil && left.Live+left.Parked == 0 && (c.options.alone || !left.Any()) {
			lost, err := c.lost()
			switch {
			case err == nil && !lost && !left.Any():
				c.say("nothing is left")
				return nil
			case err == nil && c.options.alone && (lost || left.Open):
				c.say("nothing is left to do, and not all is done")
				return nil
			}
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			c.say("left: %v (%v)", left, err)
		}
		if err := fleet.Pause(c.ctx, pause); err != nil {
			return err
		}
	}
	return c.ctx.Err()
}

// lost reports whether the log lacks an event that was accepted: what was lost with
// Redis before a worker read it is found and brought back a little later.
func (c *chaos) lost() (bool, error) {
	events, err := c.fleet.Simulator.Events(c.ctx)
	if err != nil {
		return false, err
	}
	rows, err := c.fleet.Rows(c.ctx)
	return len(fleet.Lost(events, rows)) > 0, err
}

// say prints a line with the time since the load began.
func (c *chaos) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(c.out, "%7.2fs  %s\n", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

// check notes what must not happen, such as a process that ends by itself.
func (c *chaos) check(err error) {
	if err == nil || c.ctx.Err() != nil {
		return
	}
	c.say("FAILED: %v", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures = append(c.failures, err)
}

// ended is check for a fault that ends with the run.
func (c *chaos) ended(err error) {
	if c.over.Err() == nil {
		c.check(err)
	}
}

// sleep waits for d, or until the time for faults is over.
func (c *chaos) sleep(d time.Duration) { _ = fleet.Pause(c.over, d) }

// hit picks one of a program's running members and keeps other faults from
// picking it meanwhile.
func (c *chaos) hit(r *rand.Rand, program string, do func(*fleet.Member)) {
	members := c.fleet.Members(program)
	for _, i := range r.Perm(len(members)) {
		if m := members[i]; m.Running() && c.reserve(m.Name) {
			defer c.release(m.Name)
			do(m)
			return
		}
	}
	c.say("no %s runs that could be hit", program)
}

// alone does something unless the same thing is under way.
func (c *chaos) alone(what string, do func()) {
	if !c.reserve(what) {
		c.say("(%s: already)", what)
		return
	}
	defer c.release(what)
	do()
}

func (c *chaos) reserve(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reserved[name] {
		return false
	}
	c.reserved[name] = true
	return true
}

func (c *chaos) release(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.reserved, name)
}

func (c *chaos) isReserved(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reserved[name]
}

// provider changes what goes wrong at the provider.
func (c *chaos) provider(change func(now, usual *sim.Chaos)) {
	usual := c.usual()
	c.mu.Lock()
	change(&c.at, &usual)
	now := c.at
	c.mu.Unlock()
	c.check(c.fleet.Simulator.Chaos(c.ctx, now))
}

// struck notes that the shards of a worker lose their reader now; nil: all.
func (c *chaos) struck(m *fleet.Member) {
	if m != nil && m.Program != fleet.Worker {
		return
	}
	s, err := c.fleet.OutageOf(c.ctx, m)
	if err != nil {
		return // Redis is away: no shard has a reader to lose
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outages = append(c.outages, s)
}
