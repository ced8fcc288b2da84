// Command peers runs one of the programs that Tarn's worker is compared with.
//
//	peers fill KIND -redis URL -events FILE            # put the file's lines into Redis
//	peers run KIND -redis URL -events N …              # handle them, "done SECONDS" once all are acked
//
// KIND is one of:
//
//	asynq      hibiken/asynq with a handler that does nothing
//	watermill  ThreeDotsLabs/watermill-redisstream with a handler that does nothing
//	plain      a stream read by XREADGROUP, a Redsync lock round each fetch and write:
//	           what one would write first
//
// A run goes on until its standard input ends, so that what it used can be read.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
)

// options are the flags.
type options struct {
	redis       *redis.Options
	events      string
	n           int
	concurrency int
	api, store  string
}

// peer is one of the kinds.
type peer struct {
	// fill puts events into Redis.
	fill func(ctx context.Context, o options, bodies [][]byte) error
	// run handles events and returns once all are acked.
	run func(ctx context.Context, o options) error
}

var peers = map[string]peer{
	"asynq":     {fillAsynq, runAsynq},
	"watermill": {fillWatermill, runWatermill},
	"plain":     {fillPlain, runPlain},
}

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: peers fill|run asynq|watermill|plain [flags]")
	}
	p, ok := peers[args[1]]
	if !ok {
		return fmt.Errorf("peer %q: want asynq, watermill or plain", args[1])
	}
	var o options
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	url := flags.String("redis", "", "address of Redis")
	flags.StringVar(&o.events, "events", "", "file with a webhook body a line")
	flags.IntVar(&o.n, "n", 0, "events to handle")
	flags.IntVar(&o.concurrency, "concurrency", 100, "events handled at once")
	flags.StringVar(&o.api, "api", "", "address of the provider's API (plain)")
	flags.StringVar(&o.store, "store", "", "SQLite file (plain); none: nothing is written")
	if err := flags.Parse(args[2:]); err != nil {
		return err
	}
	var err error
	if o.redis, err = redis.ParseURL(*url); err != nil {
		return fmt.Errorf("address of Redis: %w", err)
	}
	if args[0] == "fill" {
		bodies, err := lines(o.events)
		if err != nil {
			return err
		}
		return p.fill(ctx, o, bodies)
	}
	began := time.Now()
	if err := p.run(ctx, o); err != nil {
		return err
	}
	fmt.Printf("done %.3f\n", time.Since(began).Seconds())
	_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, it is time to go
	return nil
}

// lines are the lines of a file.
func lines(name string) (all [][]byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		all = append(all, []byte(in.Text()))
	}
	return all, in.Err()
}
