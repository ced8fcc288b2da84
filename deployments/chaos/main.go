package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	clean, err := command(ctx, os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	case !clean:
		os.Exit(1)
	}
}

// command runs what the arguments say and prints the line.
func command(ctx context.Context, args []string) (clean bool, err error) {
	o, err := readOptions(args)
	if err != nil {
		return false, err
	}
	programs, err := fleet.NewPrograms()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, programs.Close()) }()
	v, err := run(ctx, programs, o, os.Stdout)
	if err != nil {
		return false, err
	}
	fmt.Println(v)
	return v.clean(), nil
}

// options are the flags of a run.
type options struct {
	// provider is that of the fleet. "": lemon.
	provider string
	// duration is how long things go wrong.
	duration time.Duration
	seed     uint64
	mongoDB  bool
	// rate is in events a second, over so many entities.
	rate     float64
	entities int
	// only are the faults drawn from; none: all.
	only []string
	// latency is the provider's when nothing in particular is wrong. 0: 5 ms.
	latency time.Duration
	// commands: an application asks for changes at the provider meanwhile.
	commands bool
	// alone leaves the reconciler out, which would heal what a control breaks.
	alone bool
	// rivals is how many reconcilers there are besides the first.
	rivals int
	// odd is in which ways the provider is odd for as long as things go wrong.
	odd fleet.Odd
	// off is TARN_FAULT by program: the controls.
	off map[string]string
	// drain is how long what is left may take.
	drain time.Duration
	// control is what a run with a guarantee switched off looks at. nil: this is none.
	control *control
	// every is the mean time between two faults.
	every time.Duration
	// leaseTTL is that of the shards.
	leaseTTL time.Duration
	// keep is where everything is left for a look. "": nowhere.
	keep string
	// hooks is the line of the settings that names receivers of webhooks. "": none.
	hooks string
}

func readOptions(args []string) (o options, err error) {
	o = options{off: map[string]string{}}
	var store, only string
	f := flag.NewFlagSet("chaos", flag.ContinueOnError)
	f.StringVar(&o.provider, "provider", simulator.Lemon, "the simulated provider: lemon or stripe")
	f.DurationVar(&o.duration, "duration", 2*time.Minute, "how long things go wrong")
	f.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()%100_000), "what goes wrong when")
	f.StringVar(&store, "store", "sqlite", "sqlite or mongo: FerretDB, which is slow")
	f.Float64Var(&o.rate, "rate", 0, "events a second (default 300, on mongo 10)")
	f.IntVar(&o.entities, "entities", 0, "entities (default 1,000, on mongo 100)")
	f.StringVar(&only, "only", "", "faults to draw from, comma-separated (default all): "+strings.Join(faultNames(), ", "))
	f.DurationVar(&o.drain, "drain", 0, "how long what is left may take (default 3m, on mongo 20m)")
	f.DurationVar(&o.every, "every", 1500*time.Millisecond, "mean time between two faults")
	f.DurationVar(&o.leaseTTL, "lease", 2*time.Second, "time to live of leases")
	f.DurationVar(&o.latency, "latency", 5*time.Millisecond, "the provider's usual latency")
	f.BoolVar(&o.commands, "commands", false, "have an application ask for changes at the provider meanwhile")
	f.BoolVar(&o.alone, "alone", false, "leave the reconciler out")
	f.Var(&o.odd, "odd", "ways in which the provider is odd meanwhile, comma-separated: -odd is all, -odd=-future all but that one: "+strings.Join(fleet.OddWays(), ", "))
	f.StringVar(&o.keep, "keep", "", "`directory` in which everything is left")
	f.IntVar(&o.rivals, "rivals", 0, "further reconcilers")
	f.Func("off", "a guarantee to switch off, as `PROGRAM:NAME` (worker:leases), or a point to die at (worker:kill@after-ack:9); the line must turn red", func(s string) error {
		return o.switchOff(s)
	})
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q; see --help", f.Arg(0))
	}
	switch store {
	case "sqlite", "":
	case "mongo":
		o.mongoDB = true
	default:
		return o, fmt.Errorf("-store is sqlite or mongo, not %q", store)
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	return o.withDefaults(), nil
}

// switchOff switches a guarantee of a program off: "worker:leases"; or has it kill itself
// at a point: "worker:kill@after-settle:100".
func (o *options) switchOff(what string) error {
	program, name, ok := strings.Cut(what, ":")
	if !ok {
		return fmt.Errorf("%q: want PROGRAM:NAME", what)
	}
	full := program + "/cmd"
	if full != fleet.API && full != fleet.Worker && full != fleet.Reconciler {
		return fmt.Errorf("%q is none of api, worker, reconciler", program)
	}
	if o.off[full] != "" {
		o.off[full] += ","
	}
	if !strings.HasPrefix(name, "kill@") {
		name += "-off"
	}
	o.off[full] += name
	return nil
}

func (o options) withDefaults() options {
	rate, entities, drain := 300.0, 1000, 3*time.Minute
	if o.mongoDB {
		rate, entities, drain = 10, 100, 20*time.Minute
	}
	if o.rate == 0 {
		o.rate = rate
	}
	if o.entities == 0 {
		o.entities = entities
	}
	if o.drain == 0 {
		o.drain = drain
	}
	if o.every == 0 {
		o.every = 1500 * time.Millisecond
	}
	if o.leaseTTL == 0 {
		o.leaseTTL = 2 * time.Second
	}
	if o.latency == 0 {
		o.latency = 5 * time.Millisecond
	}
	return o
}

// plan is the fleet of a run.
func (o options) plan() fleet.Plan {
	shards := 64
	if o.mongoDB {
		shards = 16
	}
	reconcilers := 1 + o.rivals
	if o.alone {
		reconcilers = 0
	}
	return fleet.Plan{
		Provider: o.provider, Dir: o.keep, MongoDB: o.mongoDB, Commands: o.commands, Hurried: o.commands, Journal: true, APIs: 2, Workers: 3, Reconcilers: reconcilers,
		Shards: shards, Rate: 2000, LeaseTTL: o.leaseTTL, Faults: o.off,
		Reconcile: o.reconcile(),
		Settings:  "worker: {in_hand: 300}\n" + o.hooks, // so that backlogs do not fit
		Simulator: []string{"--seed", strconv.FormatUint(o.seed, 10)},
	}
}

// reconcile is as in production, but at the pace of a run of two minutes.
// FerretDB scans the log for each question of the reconciler and answers one at
// a time, so there it asks seldom, and does not sweep.
func (o options) reconcile() string {
	if o.mongoDB {
		return "{gaps: {every: 1m, overlap: 1m}, recover: {every: 30s, after: 20s}, sweep: {every: 168h}}"
	}
	return "{gaps: {every: 5s, overlap: 30s}, recover: {every: 3s, after: 5s}}"
}
