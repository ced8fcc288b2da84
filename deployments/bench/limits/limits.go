package limits

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
)

// Commands are the limits that can be measured, by name.
var Commands = map[string]func(ctx context.Context, args []string, out io.Writer) error{
	"takeover": Takeover, "outage": Outage, "parked": Parked,
}

// errMissed is the error of -check.
var errMissed = errors.New("a limit was missed")

// measure starts a fleet for f and ends it afterwards.
func measure(ctx context.Context, p fleet.Plan, f func(context.Context, *fleet.Fleet) error) (err error) {
	programs, err := fleet.NewPrograms()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, programs.Close()) }()
	running, err := fleet.Start(ctx, programs, p)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Close()) }()
	return f(ctx, running)
}

// parse reads the flags of a command; check is its -check.
func parse(flags *flag.FlagSet, args []string) (check *bool, err error) {
	check = flags.Bool("check", false, "fail if a limit is missed")
	return check, flags.Parse(args)
}

// tell prints a line that ends with whether the limit was kept.
func tell(out io.Writer, held, check bool, format string, args ...any) error {
	word := "held"
	if !held {
		word = "MISSED"
	}
	if _, err := fmt.Fprintf(out, format+": %s\n", append(args, word)...); err != nil {
		return err
	}
	if check && !held {
		return errMissed
	}
	return nil
}

// near is a provider next door, whose answers take a few milliseconds.
var near = simulator.Chaos{Latency: simulator.Duration(5 * time.Millisecond)}

// made waits until a load has made so many events.
func made(ctx context.Context, f *fleet.Fleet, n int, within time.Duration) error {
	var p simulator.LoadProgress
	return fleet.WaitFor(ctx, within, func() string { return fmt.Sprintf("%d of %d events are made", p.Made, n) }, func() (_ bool, err error) {
		p, err = f.Simulator.Progress(ctx)
		return p.Made >= n, err
	})
}
