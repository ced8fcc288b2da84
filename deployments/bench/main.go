// Command bench measures Tarn on this machine: the receiver beside plain peers, and
// all else against limits.
//
//	go run ./deployments/bench receiver            # webhooks per second, with ratios
//	go run ./deployments/bench receiver -rounds 9 -each 5s -check
//	go run ./deployments/bench scale               # what a larger fleet carries, on paper
//	go run ./deployments/bench backfill -check     # the share of the rate it uses, its memory
//	go run ./deployments/bench sweep -check        # what a sweep costs that finds nothing
//	go run ./deployments/bench gap -check          # until a lost event is in the mirror
//	go run ./deployments/bench live -check         # whether live events wait for sweeps
//	go run ./deployments/bench takeover -check     # 20 workers killed: until their work goes on
//	go run ./deployments/bench outage -check       # how a backlog drains once the provider is back
//	go run ./deployments/bench parked -check       # what entities that fail cost the others
//	go run ./deployments/bench fleet -shape two    # a backlog settled by one worker, and what an event costs
//	go run ./deployments/bench fleet -check        # the same for every shape, in turn with peers
//	go run ./deployments/bench fleet -feed 30      # the same with the change feed and without, in pairs
//	go run ./deployments/bench steps               # what an event costs in each step of its way
//	go run ./deployments/bench idle -check         # what a worker uses that has nothing to do
//	go run ./deployments/bench memory -check       # the memory of a worker that is far behind
//	go run ./deployments/bench latency -check      # until an event's document can be read
//	go run ./deployments/bench size -check         # whether the length of the log shows
//	go run ./deployments/bench lists -check        # what a page of each list takes, by each filter
//	go run ./deployments/bench feed -check         # what those who follow changes get, and how soon
//	go run ./deployments/bench commands -check     # until a change that was asked for is made, and how many a worker makes
//
// Absolute figures say more about the machine than about the code. So most limits are of
// ratios between interleaved rounds, of shares, and of times that settings decide. Those
// of an event's CPU time, of memory and of latency are absolute.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/tarn-sync/tarn/deployments/bench/commands"
	"github.com/tarn-sync/tarn/deployments/bench/feed"
	"github.com/tarn-sync/tarn/deployments/bench/limits"
	"github.com/tarn-sync/tarn/deployments/bench/lists"
	"github.com/tarn-sync/tarn/deployments/bench/receiver"
	"github.com/tarn-sync/tarn/deployments/bench/reconcile"
	"github.com/tarn-sync/tarn/deployments/bench/scale"
	"github.com/tarn-sync/tarn/deployments/bench/speed"
)

// known are the measurements, by name.
const known = "receiver, scale, backfill, sweep, gap, live, takeover, outage, parked, fleet, steps, idle, memory, latency, size, lists, feed or commands"

type command = func(ctx context.Context, args []string, out io.Writer) error

func main() {
	if len(os.Args) > 1 && os.Args[1] == speed.WorkerMode {
		os.Exit(speed.WorkerMain(os.Args[2:])) // signals are the worker's
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("say what to measure: %s", known)
	}
	switch args[0] {
	case "receiver":
		return receiver.Main(ctx, args[1:], os.Stdout)
	case "scale":
		return scale.Main(ctx, args[1:], os.Stdout)
	case receiver.ServerMode:
		return receiver.ServerMain(ctx, args[1:])
	case receiver.LoadMode:
		return receiver.LoadMain(ctx, args[1:], os.Stdout)
	case speed.ProviderMode:
		return speed.ProviderMain(ctx, args[1:])
	}
	for _, all := range []map[string]command{reconcile.Commands, limits.Commands, speed.Commands, lists.Commands, feed.Commands, commands.Commands} {
		if c := all[args[0]]; c != nil {
			return c(ctx, args[1:], os.Stdout)
		}
	}
	return fmt.Errorf("%q is nothing to measure: want %s", args[0], known)
}
