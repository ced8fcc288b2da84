package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/provider"
)

const (
	// grace is how long a difference may be explained; latest is how late a
	// webhook may be while sweeps run, which is less.
	grace  = 3 * time.Second
	latest = time.Second
	// rate is what the provider allows, requests a second: little enough for a
	// sweep to have a middle.
	rate = 500
	// retries is the sender's schedule: it gives up after less than the api is
	// away.
	retries, away = "200ms,500ms", 2 * time.Second
	// span is how long a load takes.
	span = 6 * time.Second
	// untold is the kind whose changes the provider tells nobody of: its
	// balances move with everybody's money. Sweeps find them, late or not.
	untold = "settlement_accounts"
)

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
}

// drift makes one run and writes its story and its line to out.
func drift(ctx context.Context, programs *fleet.Programs, o options, out io.Writer) (v *verdict, err error) {
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
		err = errors.Join(err, r.Close())
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
	if r.definition, err = provider.Builtin("lemon"); err != nil {
		return nil, err
	}
	if r.Fleet, err = fleet.Start(ctx, programs, plan(o)); err != nil {
		return nil, err
	}
	return r, nil
}

func plan(o options) fleet.Plan {
	p := fleet.Plan{
		APIs: 1, Workers: 2, Rate: rate, Retries: retries,
		Reconcile: fmt.Sprintf("{gaps: {every: 2s}, sweep: {every: 5s}, grace: %s, window: 1h, kinds: {%s: {verify_every: 1s}}}", grace, untold),
		Simulator: []string{"--seed", strconv.FormatUint(o.seed, 10)},
	}
	if o.keep {
		// Only a directory that is ours to name outlives the fleet.
		p.Dir, _ = os.MkdirTemp("", "tarn-drift-") // "" then: nothing is kept
	}
	return p
}

// say tells what happens, and when.
func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.out, "%6.1fs  %s\n", time.Since(r.begun).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) lastWords() {
	for _, m := range r.Members("") {
		fmt.Fprintf(r.out, "last words of %s:\n%s\n", m.Name, m.LastWords())
	}
}
