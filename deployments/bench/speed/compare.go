package speed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

// target is what -check holds Tarn to.
type target struct {
	shape string
	// peer: the figure is the ratio of events a second to this peer's in the same
	// round, at least limit. "": it is of, at most limit.
	peer  string
	limit float64
	of    func(cost) float64
	unit  string
}

// targets are all of them. Each is compared with the median of the rounds.
var targets = []target{
	{shape: "one", peer: "asynq", limit: 0.8},
	{shape: "two", peer: "asynq", limit: 0.55},
	{shape: "one", peer: "asynq, one at a time", limit: 0.8},
	{shape: "two", peer: "asynq, one at a time", limit: 0.55},
	{shape: "eight", peer: "watermill", limit: 1},
	{shape: "two", of: cost.workerCPU, limit: 0.30, unit: "ms of the worker's CPU per event"},
	{shape: "two", of: cost.redisCPU, limit: 0.12, unit: "ms of Redis' CPU per event"},
	{shape: "two", of: cost.peakMB, limit: 120, unit: "MB of the worker's memory at most"},
}

// rounds are the costs of all rounds, by shape for Tarn and by name for peers.
type rounds map[string][]cost

// compare runs Tarn and its peers in turn, and writes their table. missed: a target was.
func compare(ctx context.Context, out io.Writer, programs *fleet.Programs, s setup, n, events int) (missed bool, err error) {
	dir, err := os.MkdirTemp("", "tarn-peers-")
	if err != nil {
		return false, fmt.Errorf("make a directory for the peers: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path, err := buildPeers(ctx, dir)
	if err != nil {
		return false, err
	}
	got := rounds{}
	for range n {
		// Programs that are compared with each other run one after the other.
		for i := range max(len(shapes), len(peers)) {
			if i < len(shapes) {
				c, err := drain(ctx, programs, s, shapes[i], events, profiles{})
				if err != nil {
					return false, fmt.Errorf("tarn, shape %s: %w", shapes[i].name, err)
				}
				got[shapes[i].name] = append(got[shapes[i].name], c)
			}
			if i < len(peers) {
				c, err := peers[i].run(ctx, programs, path, s, events)
				if err != nil {
					return false, fmt.Errorf("%s: %w", peers[i].name, err)
				}
				got[peers[i].name] = append(got[peers[i].name], c)
			}
		}
	}
	got.write(out)
	return got.judge(out), nil
}

// errMissed is the error of -check.
var errMissed = errors.New("a limit was missed")

// write writes a line for each program, with what it promises.
func (r rounds) write(out io.Writer) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "program\tevents\tevents/s (median)\tfrom, to\tCPU ms/event\tRedis' CPU ms/event\tmost MB\tdoes\tpromises")
	line := func(name string, list []cost, does, promises string) {
		if len(list) == 0 {
			return
		}
		rates := values(list, cost.rate)
		fmt.Fprintf(table, "%s\t%d\t%.0f\t%.0f, %.0f\t%.3f\t%.3f\t%.0f\t%s\t%s\n", name, list[0].events, median(rates), slices.Min(rates), slices.Max(rates),
			median(values(list, cost.workerCPU)), median(values(list, cost.redisCPU)), median(values(list, cost.peakMB)), does, promises)
	}
	for _, s := range shapes {
		line("tarn, "+s.name, r[s.name], tarnDoes, tarnPromises)
	}
	for _, p := range peers {
		line(p.name+", "+p.shape, r[p.name], p.does, p.promises)
	}
	_ = table.Flush() // out is a terminal or a file; nothing better to say it on
}

// judge writes how each target was met and reports whether one was missed.
func (r rounds) judge(out io.Writer) (missed bool) {
	for _, t := range targets {
		var got []float64
		for i, c := range r[t.shape] {
			if t.peer == "" {
				got = append(got, t.of(c))
			} else if i < len(r[t.peer]) {
				got = append(got, c.rate()/r[t.peer][i].rate())
			}
		}
		m := median(got)
		held, what, sign := m <= t.limit, t.unit, "≤"
		if t.peer != "" {
			held, what, sign = m >= t.limit, "of the events a second of "+t.peer, "≥"
		}
		fmt.Fprintf(out, "tarn, %s: %.2f %s (%.2f to %.2f in %d rounds; %s %.2f): %s\n", t.shape, m, what, slices.Min(got), slices.Max(got), len(got), sign, t.limit, verdict(held))
		missed = missed || !held
	}
	return missed
}

// verdict says whether a limit was kept.
func verdict(held bool) string {
	if held {
		return "held"
	}
	return "MISSED"
}

func values(list []cost, of func(cost) float64) []float64 {
	out := make([]float64, len(list))
	for i, c := range list {
		out[i] = of(c)
	}
	return out
}

// median returns the value in the middle, of an even number the mean of the two.
func median(list []float64) float64 {
	list = slices.Clone(list)
	slices.Sort(list)
	if n := len(list); n%2 == 0 {
		return (list[n/2-1] + list[n/2]) / 2
	}
	return list[len(list)/2]
}
