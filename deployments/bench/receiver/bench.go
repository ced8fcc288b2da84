package receiver

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
)

// comparison is a set of servers whose rounds are interleaved, and what is expected of
// them.
type comparison struct {
	kinds  []string
	limits []limit
}

// limit is a ratio of requests a second, of one server to another, that is not to be
// missed.
type limit struct {
	of, to string
	least  float64
}

var (
	peers  = comparison{[]string{"tarn", "gin", "bare"}, []limit{{"tarn", "gin", 0.9}, {"tarn", "bare", 0.45}}}
	traces = comparison{[]string{"tarn", "traced"}, []limit{{"traced", "tarn", 0.95}}}

	policies = []string{"everysec", "always"}
)

// options are the flags of a run.
type options struct {
	rounds, conns int
	each          time.Duration
	check         bool
	traced        bool
	dir           string
	policies      string
}

// Main runs the benchmark and writes its table to out.
func Main(ctx context.Context, args []string, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("receiver", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "interleaved rounds; medians are compared")
	flags.DurationVar(&o.each, "each", 3*time.Second, "length of one server's turn in a round")
	flags.IntVar(&o.conns, "conns", 64, "keep-alive connections")
	flags.BoolVar(&o.check, "check", false, "fail if a limit is missed")
	flags.BoolVar(&o.traced, "traced", false, "compare Tarn with itself while it traces one webhook in a hundred, in place of its peers")
	flags.StringVar(&o.policies, "fsync", strings.Join(policies, ","), "AOF policies to measure with")
	flags.StringVar(&o.dir, "dir", "", "where Redis writes its files (default: a temporary directory)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	fmt.Fprintf(out, "webhooks taken in per second: %d keep-alive connections, %d rounds of %s each, %d CPUs, %s\n"+
		"load generator: deployments/bench/receiver/load.go (hand-written HTTP/1.1), its own process on the same machine\n\n",
		o.conns, o.rounds, o.each, runtime.NumCPU(), runtime.Version())
	compared := peers
	if o.traced {
		compared = traces
	}
	missed := false
	for _, policy := range strings.Split(o.policies, ",") {
		got, err := measure(ctx, o, compared.kinds, policy)
		if err != nil {
			return fmt.Errorf("AOF %s: %w", policy, err)
		}
		missed = compared.report(out, policy, got) || missed
	}
	if missed && o.check {
		return errors.New("a limit was missed")
	}
	return nil
}

// measure runs all rounds of some servers with one fsync policy.
func measure(ctx context.Context, o options, kinds []string, policy string) (map[string][]Load, error) {
	dir, err := os.MkdirTemp(o.dir, "tarn-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a directory for redis: %w", err)
	}
	defer os.RemoveAll(dir)
	redis, err := startRedis(ctx, dir, policy)
	if err != nil {
		return nil, err
	}
	defer redis.stop()

	collector := httptest.NewServer(http.HandlerFunc(discard))
	defer collector.Close()
	servers := map[string]*server{}
	for _, kind := range kinds {
		s, err := startServer(ctx, kind, redis.url, collector.URL)
		if err != nil {
			return nil, err
		}
		defer s.stop()
		servers[kind] = s
	}
	got := map[string][]Load{}
	for round := range o.rounds + 1 {
		for _, kind := range kinds {
			load, err := turn(ctx, o, redis, servers[kind], round)
			if err != nil {
				return nil, fmt.Errorf("round %d of %s: %w", round, kind, err)
			}
			if round > 0 { // the first one warms up
				got[kind] = append(got[kind], load)
			}
		}
	}
	return got, nil
}

// discard takes traces as a collector does, and keeps none.
func discard(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // the sender went away: there is no export to lose
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// turn is one server's part of a round.
func turn(ctx context.Context, o options, redis *redisServer, s *server, round int) (Load, error) {
	var load Load
	if err := redis.empty(ctx); err != nil {
		return load, err
	}
	each := o.each
	if round == 0 {
		each = time.Second
	}
	cmd, err := self(ctx, LoadMode, "-addr", s.addr, "-each", each.String(),
		"-conns", strconv.Itoa(o.conns), "-run", strconv.Itoa(round))
	if err != nil {
		return load, err
	}
	used, err := beginUsage(s.cmd.Process.Pid, redis.cmd.Process.Pid)
	if err != nil {
		return load, err
	}
	out, err := cmd.Output()
	if err != nil {
		return load, fmt.Errorf("load generator: %w", err)
	}
	if err := json.Unmarshal(out, &load); err != nil {
		return load, fmt.Errorf("answer of the load generator: %w", err)
	}
	if err := used.end(&load); err != nil {
		return load, err
	}
	if load.Other > 0 {
		return load, fmt.Errorf("%d of %d answers were not 200", load.Other, load.Requests)
	}
	return load, nil
}

// server is one of the servers as a process.
type server struct {
	cmd   *exec.Cmd
	stdin io.Closer
	addr  string
}

func startServer(ctx context.Context, kind, redisURL, collector string) (*server, error) {
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	cmd, err := self(ctx, ServerMode, "-kind", kind, "-redis", redisURL, "-addr", addr, "-collector", collector)
	if err != nil {
		return nil, err
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start server %s: %w", kind, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start server %s: %w", kind, err)
	}
	s := &server{cmd: cmd, stdin: stdin, addr: addr}
	if err := s.await(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("server %s did not come up: %w", kind, err)
	}
	return s, nil
}

// await waits for an answer, of whatever status: a server listens before it has set up
// what it needs of Redis, which turns empty.
func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/", nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			return res.Body.Close()
		}
		if !loops.Sleep(ctx, 20*time.Millisecond) {
			return err
		}
	}
}

// stop lets the server end by itself, which it does without its input.
func (s *server) stop() {
	_ = s.stdin.Close()
	_ = s.cmd.Wait()
}

// self is this binary in another mode.
func self(ctx context.Context, args ...string) (*exec.Cmd, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this binary: %w", err)
	}
	cmd := exec.CommandContext(ctx, filepath.Clean(path), args...)
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// report writes one policy's table and reports whether a limit was missed.
func (c comparison) report(out io.Writer, policy string, got map[string][]Load) (missed bool) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "AOF %s\trequests/s (median)\tall rounds\tp50 ms\tp99 ms\tCPU µs a request: server\tRedis\tload\n", policy)
	for _, kind := range c.kinds {
		of := func(value func(Load) float64) float64 { return median(got[kind], value) }
		fmt.Fprintf(table, "%s\t%.0f\t%.0f\t%.2f\t%.2f\t%.1f\t%.1f\t%.1f\n", kind, of(Load.Rate), rates(got[kind]),
			of(func(l Load) float64 { return l.P50Ms }), of(func(l Load) float64 { return l.P99Ms }),
			of(func(l Load) float64 { return l.each(l.ServerSeconds) }), of(func(l Load) float64 { return l.each(l.RedisSeconds) }),
			of(func(l Load) float64 { return l.each(l.OwnSeconds) }))
	}
	_ = table.Flush() // out is a terminal or a file; nothing better to say it on
	for _, l := range c.limits {
		ratio := median(got[l.of], Load.Rate) / median(got[l.to], Load.Rate)
		fmt.Fprintf(out, "%s/%s %.2f (limit %.2f: %s)   ", l.of, l.to, ratio, l.least, held(ratio, l.least))
		missed = missed || ratio < l.least
	}
	fmt.Fprint(out, "\n\n")
	return missed
}

func held(ratio, limit float64) string {
	if ratio < limit {
		return "MISSED"
	}
	return "held"
}

func rates(loads []Load) []float64 {
	out := make([]float64, len(loads))
	for i, l := range loads {
		out[i] = l.Rate()
	}
	return out
}

func median(loads []Load, of func(Load) float64) float64 {
	values := make([]float64, len(loads))
	for i, l := range loads {
		values[i] = of(l)
	}
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}
