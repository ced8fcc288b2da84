package scale

import (
	"context"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Measured are the costs of an event that names one entity: those of the receiver with
// everysec, and of `bench fleet -shape one`, as the page of the benchmarks has them.
var Measured = Costs{
	API: 25 * time.Microsecond, Worker: 214 * time.Microsecond,
	AppendRedis: 11 * time.Microsecond, DrainRedis: 33 * time.Microsecond,
	StoreWrites: 4, Requests: 1,
}

// Main prints what fleets carry, and what fleet a rate needs.
func Main(_ context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	costs := Measured
	flags.DurationVar(&costs.API, "api", costs.API, "CPU time of an api for an event")
	flags.DurationVar(&costs.Worker, "worker", costs.Worker, "CPU time of a worker for an event")
	flags.DurationVar(&costs.AppendRedis, "append", costs.AppendRedis, "time of Redis for taking an event in")
	flags.DurationVar(&costs.DrainRedis, "drain", costs.DrainRedis, "time of Redis for working an event off")
	cores := flags.Int("cores", 2, "cores of each api and each worker")
	writes := flags.Float64("writes", 0, "documents the database writes in a second; 0: not known, and no bound")
	requests := flags.Float64("requests", 0, "requests the provider allows in a second; 0: no bound")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return report(out, costs, *cores, *writes, *requests)
}

func report(out io.Writer, costs Costs, cores int, writes, requests float64) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "apis\tworkers\tmasters\tshards\tcarries\tbound")
	for _, f := range []Fleet{
		{APIs: 1, Workers: 1, Masters: 1, Shards: 64},
		{APIs: 2, Workers: 4, Masters: 1, Shards: 64},
		{APIs: 4, Workers: 16, Masters: 1, Shards: 64},
		{APIs: 4, Workers: 16, Masters: 3, Shards: 256},
		{APIs: 4, Workers: 16, Masters: 6, Shards: 256},
	} {
		f.Cores, f.StoreWrites, f.Requests = cores, writes, requests
		b := f.Bound(costs)
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%.0f/s\t%s\n", f.APIs, f.Workers, f.Masters, f.Shards, b.Capacity, b.Name)
	}
	fmt.Fprintln(w, "\nevents/s\tapis\tworkers\tmasters\tshards\tdocuments/s\trequests/s")
	for _, rate := range []float64{1_000, 10_000, 100_000} {
		f := Needed(costs, rate, cores)
		fmt.Fprintf(w, "%.0f\t%d\t%d\t%d\t%d\t%.0f\t%.0f\n", rate, f.APIs, f.Workers, f.Masters, f.Shards, rate*costs.StoreWrites, rate*costs.Requests)
	}
	return w.Flush()
}
