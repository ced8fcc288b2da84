package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command(ctx, os.Args[1:], os.Stdout)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "drift:", err)
	os.Exit(1)
}

// options are the flags of a run.
type options struct {
	// provider is that of the fleet. "": lemon.
	provider string
	seed     uint64
	entities int
	events   int
	life     float64
	delay    time.Duration
	within   time.Duration
	keep     bool
	// odd is in which ways the provider is odd until the world stops changing.
	odd fleet.Odd
}

func command(ctx context.Context, args []string, out io.Writer) (err error) {
	var o options
	flags := flag.NewFlagSet("drift", flag.ContinueOnError)
	flags.StringVar(&o.provider, "provider", simulator.Lemon, "the simulated provider: lemon or stripe")
	flags.Uint64Var(&o.seed, "seed", 0, "seed of the world and of what goes wrong (default: drawn)")
	flags.IntVar(&o.entities, "entities", 1000, "accounts and orders of the two loads, together; a tenth are accounts; 20 make a small mirror")
	flags.IntVar(&o.events, "events", 0, "events of the lossy load (default: three times the entities)")
	flags.Float64Var(&o.life, "life", 10, "events a second of the living world beside the load")
	flags.DurationVar(&o.delay, "store-delay", 0, "how long each write to the store is kept waiting, so that writes overlap with what sweeps read (0: not at all)")
	flags.Var(&o.odd, "odd", "ways in which the provider is odd, comma-separated: -odd is all, -odd=-future all but that one: "+strings.Join(fleet.OddWays(), ", "))
	flags.DurationVar(&o.within, "within", 2*time.Minute, "give up after this long; four times as long on a slow store, three times with an odd provider")
	flags.BoolVar(&o.keep, "keep", false, "leave logs and data where they are and say where")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1 // short enough to be typed again
	}
	programs, err := fleet.NewPrograms()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, programs.Close()) }()
	if err := programs.Build(ctx); err != nil {
		return err
	}
	v, err := drift(ctx, programs, o, out)
	if err != nil {
		return err
	}
	if !v.clean() {
		return errors.New("the mirror is not what it should be")
	}
	return nil
}
