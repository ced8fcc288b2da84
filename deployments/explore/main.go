// Command explore runs random schedules of a simulated fleet: see package
// worker/entity/simulation.
//
//	make explore DURATION=60s [SEED=7]
//
// It prints one line and exits with 0. If a schedule breaks an invariant, it prints
// the seed and a small transcript before that line and exits with 1. With -off one
// guarantee is switched off: a broken invariant must be found, so 1 is the exit status
// to expect.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/tarn-sync/tarn/worker/entity/simulation"
)

func main() {
	within := flag.Duration("duration", time.Minute, "how long to explore")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "the first schedule")
	off := flag.String("off", "", "a `guarantee` to switch off: leases, lanes, claims, acks, settle-order, recover, append, markers, feed-hints, feed-debts or feed-fed")
	flag.Parse()

	begun := time.Now()
	e := simulation.Explore(*seed, *within, simulation.Control(*off))
	if err := e.Report(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	took := time.Since(begun)
	fmt.Printf("explore: seed=%d runs=%d events=%d events_per_minute=%.0f\n", *seed, e.Runs, e.Events, float64(e.Events)/took.Minutes())
	if e.Failed != nil {
		os.Exit(1)
	}
}
