package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/provider"
)

const (
	// grace is how long a difference may be explained; latest is how late a
	// webhook may be while sweeps run, which is less, by more than a machine
	// stalls.
	grace  = 6 * time.Second
	latest = time.Second
	// rate is what the provider allows, requests a second: little enough for a
	// sweep to have a middle.
	rate = 500
	// small is up to how many entities a mirror is small. Its sweeps are over so
	// soon that they have a middle only under less of a rate.
	small, smallRate = 100, 100
	// retries is the sender's schedule: it gives up after less than the api is
	// away.
	retries, away = "200ms,500ms", 2 * time.Second
	// span is how long a load takes.
	span = 6 * time.Second
	// slowly is how many times as long a fleet with a slow store may take.
	slowly = 4
	// oddly is how many times as long they may take with an odd provider: what
	// goes through every list waits for those that do not end.
	oddly = 3
)

// part is what differs in the worlds of providers.
type part struct {
	// untold is the kind whose changes have no events: balances that move with
	// every payment. Sweeps find them, late or not.
	untold string
	// removed is the kind of which some are deleted in silence, and moved that of
	// which some move to another account, "" if nothing moves.
	removed, moved string
	// still is for how long after an event its second look explains what a sweep
	// finds, where all kinds have one.
	still time.Duration
}

var parts = map[string]part{
	simulator.Lemon:  {untold: "settlement_accounts", removed: "order", moved: "order"},
	simulator.Stripe: {untold: "balance", removed: "product", still: 36 * time.Second},
}

// part is that of the run's provider.
func (o options) part() part { return parts[cmp.Or(o.provider, simulator.Lemon)] }

// run is one drift run under way.
type run struct {
	*fleet.Fleet
	options
	out        io.Writer
	begun      time.Time
	rng        *rand.Rand
	definition *provider.Definition
	injected   injected
	// asked is how many answers the API had given when the sweeps began.
	asked int64
	// slow ends what slows the store.
	slow sync.WaitGroup
	fast context.CancelFunc
}

// drift makes one run and writes its story and its line to out.
func drift(ctx context.Context, programs *fleet.Programs, o options, out io.Writer) (v *verdict, err error) {
	o.within = o.within*o.slower() + o.part().still
	ctx, cancel := context.WithTimeoutCause(ctx, o.within, fmt.Errorf("not over after %s", o.within))
	defer cancel()
	r, err := start(ctx, programs, o, out)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.lastWords()
		}
		if o.keep {
			r.say("logs and data are in %s", r.Dir())
		}
		err = errors.Join(err, r.close())
	}()
	for _, phase := range []func(context.Context) error{r.fill, r.whole, r.lossy, r.silent, r.sweeps} {
		if err := phase(ctx); err != nil {
			return nil, err
		}
	}
	if v, err = r.judge(ctx, heldBack); err != nil {
		return nil, err
	}
	v.write(out)
	return v, nil
}

// start starts the fleet of a run, without reconcilers.
func start(ctx context.Context, programs *fleet.Programs, o options, out io.Writer) (r *run, err error) {
	if o.events == 0 {
		o.events = 3 * o.entities
	}
	r = &run{options: o, out: out, begun: time.Now(), rng: rand.New(rand.NewPCG(o.seed, 2))}
	r.say("seed %d: %d entities, %d events", o.seed, o.entities, o.events)
	if r.Fleet, err = fleet.Start(ctx, programs, plan(o)); err != nil {
		return nil, err
	}
	if r.definition, err = r.Definition(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.slowStore(ctx)
	return r, nil
}

// slowStore keeps the store's writers waiting until close. A pause between two
// stalls lets those through that wait.
func (r *run) slowStore(ctx context.Context) {
	ctx, r.fast = context.WithCancel(ctx)
	if r.delay <= 0 {
		return
	}
	r.say("each write to the store waits for up to %s", r.delay)
	r.slow.Go(func() {
		for ctx.Err() == nil {
			if err := r.Database.Slow(ctx, r.delay); err != nil && ctx.Err() == nil {
				r.say("the store could not be slowed: %v", err)
				return
			}
			_ = r.rest(ctx, max(r.delay/5, 2*time.Millisecond)) // ctx ends the loop
		}
	})
}

// patience is how long something may take that takes d at most in a fleet whose
// store is fast and whose provider is not odd.
func (r *run) patience(d time.Duration) time.Duration { return d * r.slower() }

// slower is how many times as long things may take.
func (o options) slower() time.Duration {
	times := time.Duration(1)
	if o.delay > 0 {
		times *= slowly
	}
	if len(o.odd) > 0 {
		times *= oddly
	}
	return times
}

func (r *run) close() error {
	r.fast()
	r.slow.Wait()
	return r.Close()
}

func plan(o options) fleet.Plan {
	perSecond := rate
	if o.entities <= small {
		perSecond = smallRate
	}
	p := fleet.Plan{
		Provider: o.provider, APIs: 1, Workers: 2, Rate: perSecond, Retries: retries,
		Reconcile: fmt.Sprintf("{gaps: {every: 2s}, sweep: {every: 5s}, grace: %s, window: 1h, kinds: {%s: {verify_every: 1s}}}", grace, o.part().untold),
		Simulator: []string{"--seed", strconv.FormatUint(o.seed, 10)},
	}
	if o.keep {
		// Only a directory that is ours to name outlives the fleet.
		p.Dir, _ = os.MkdirTemp("", "tarn-drift-") // "" then: nothing is kept
	}
	return p
}

// say prints what happens, and when.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.out, "%6.1fs  %s\n", time.Since(r.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) lastWords() {
	for _, m := range r.Members("") {
		fmt.Fprintf(r.out, "last words of %s:\n%s\n", m.Name, m.LastWords())
	}
}
