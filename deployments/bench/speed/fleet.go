package speed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

// Commands are the measurements, by name.
var Commands = map[string]func(ctx context.Context, args []string, out io.Writer) error{
	"fleet": Fleet, "idle": Idle, "memory": Memory, "latency": Latency, "size": Size, "steps": Steps,
}

// Fleet measures how fast one worker settles a backlog, and what an event costs. With
// -check or -rounds it does so for every shape, in turn with peers.
func Fleet(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("fleet", flag.ContinueOnError)
	name := flags.String("shape", "two", "what events name: one, two or eight")
	events := flags.Int("events", 30_000, "events in the backlog")
	rounds := flags.Int("rounds", 0, "rounds of every shape and peer in turn; medians are compared (with -check: 5)")
	check := flags.Bool("check", false, "fail if a target is missed")
	pairs := flags.Int("feed", 0, "pairs of drains of the shape, with the change feed and without, that are compared")
	var s setup
	s.flags(flags)
	store := flags.String("store", "sqlite", "store: sqlite, or mongo with -uri")
	flags.StringVar(&s.mongo, "uri", "", "a MongoDB, with -store mongo: each drain makes a database there and drops it")
	flags.IntVar(&s.bulk, "bulk", 1000, "operations in a command of MongoDB, at most")
	var p profiles
	flags.StringVar(&p.cpu, "profile", "", "`file` for a CPU profile of the worker")
	flags.StringVar(&p.allocs, "allocs", "", "`file` for a profile of the worker's allocations")
	flags.StringVar(&p.heap, "heap", "", "`file` for a profile of the worker's heap at its most")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if (*store == "mongo") != (s.mongo != "") || *store != "mongo" && *store != "sqlite" {
		return fmt.Errorf("-store %s: want sqlite, or mongo with -uri", *store)
	}
	sh, err := shapeNamed(*name)
	if err != nil {
		return err
	}
	return withPrograms(ctx, func(programs *fleet.Programs) error {
		s.write(out)
		if *pairs > 0 {
			missed, err := feedPairs(ctx, out, programs, s, sh, *pairs, *events)
			if missed && *check {
				err = errors.Join(err, errMissed)
			}
			return err
		}
		if *check && *rounds == 0 {
			*rounds = 5
		}
		if *rounds > 0 {
			missed, err := compare(ctx, out, programs, s, *rounds, *events)
			if missed && *check {
				err = errors.Join(err, errMissed)
			}
			return err
		}
		c, err := drain(ctx, programs, s, sh, *events, p)
		if err == nil {
			c.write(out, sh)
		}
		return err
	})
}

// flags declares the flags of what a worker needs.
func (s *setup) flags(flags *flag.FlagSet) {
	flags.StringVar(&s.dir, "dir", "", "where Redis and SQLite write (default: the system's directory for temporary files)")
	flags.StringVar(&s.fsync, "fsync", "everysec", "Redis' appendfsync")
	flags.IntVar(&s.shards, "shards", 64, "shards")
	flags.IntVar(&s.concurrency, "concurrency", 100, "requests to the provider under way at once")
}

// write says what was set.
func (s *setup) write(out io.Writer) {
	store := "SQLite, synchronous FULL"
	if s.mongo != "" {
		store = "MongoDB, write concern majority"
	}
	fmt.Fprintf(out, "%d CPUs, %s; Redis with AOF %s; %s; %d shards; no rate limit, %d requests under way at once\n",
		runtime.NumCPU(), runtime.Version(), s.fsync, store, s.shards, s.concurrency)
}

// withPrograms builds the worker, so that no measurement waits for the compiler.
func withPrograms(ctx context.Context, f func(*fleet.Programs) error) (err error) {
	programs, err := fleet.NewPrograms()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, programs.Close()) }()
	if _, err := programs.Path(ctx, fleet.Worker, false); err != nil {
		return err
	}
	return f(programs)
}
