package speed

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

// peer is a program Tarn's worker is compared with. All are commands of the module of
// stand-ins, so that Tarn does not depend on them.
type peer struct {
	// kind is its name there, name its name in tables.
	kind, name string
	// atOnce is how many events it handles at once. 0: as many as Tarn has requests under
	// way.
	atOnce int
	// shape is what its events name.
	shape string
	// does and promises are what it does with an event, and what that guarantees.
	does, promises string
	// store: it writes a SQLite file.
	store bool
	// fewer divides the events it gets, where it is slow.
	fewer int
}

var peers = []peer{
	{
		kind: "asynq", name: "asynq", shape: "one", does: "nothing",
		promises: "at least once, retries; no order, no duplicates found, no log",
	},
	{
		kind: "asynq", name: "asynq, one at a time", shape: "one", atOnce: 1, does: "nothing",
		promises: "at least once, in the order of the queue, retries; no duplicates found, no log",
	},
	{
		kind: "watermill", name: "watermill", shape: "one", does: "nothing",
		promises: "at least once; no order with several consumers, no retries counted, no log; entries stay in the stream",
	},
	{
		kind: "plain", name: "plain", shape: "two", does: "lock, fetch, upsert (SQLite, synchronous FULL), ack", store: true, fewer: 4,
		promises: "at least once, one fetch of an entity at a time; an older state can replace a newer one, no order, no retries, no log",
	},
}

// tarnPromises is the line of Tarn among those of the peers.
const (
	tarnDoes     = "log, lock, fetch, guarded write, settle (SQLite, synchronous FULL), ack"
	tarnPromises = "at least once, in order for each entity, never backwards, duplicates found, retries and dead letters, all in the log"
)

// buildPeers builds the program of all peers into a directory.
func buildPeers(ctx context.Context, dir string) (path string, err error) {
	mod, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	module := filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), "deployments", "standins")
	path = filepath.Join(dir, "peers")
	if said, err := exec.CommandContext(ctx, "go", "build", "-C", module, "-buildvcs=false", "-o", path, "./peers").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the peers: %w\n%s", err, said)
	}
	return path, nil
}

// run fills Redis with a backlog in the peer's own form, and has the peer settle it.
func (p peer) run(ctx context.Context, programs *fleet.Programs, path string, s setup, events int) (c cost, err error) {
	sh, err := shapeNamed(p.shape)
	if err != nil {
		return c, err
	}
	if p.fewer > 1 {
		events = max(1, events/p.fewer)
	}
	l, err := newLab(ctx, programs, s)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	file := filepath.Join(l.dir, "events.jsonl")
	if err := sh.write(file, events); err != nil {
		return c, err
	}
	if said, err := exec.CommandContext(ctx, path, "fill", p.kind, "-redis", l.redis.URL(), "-events", file).CombinedOutput(); err != nil {
		return c, fmt.Errorf("fill the queue of %s: %w\n%s", p.kind, err, said)
	}
	m, err := l.meter(ctx)
	if err != nil {
		return c, err
	}
	args := []string{"run", p.kind, "-redis", l.redis.URL(), "-n", strconv.Itoa(events), "-concurrency", strconv.Itoa(cmp.Or(p.atOnce, s.concurrency)), "-api", "http://" + l.api + "/v1"}
	if p.store {
		args = append(args, "-store", filepath.Join(l.dir, "plain.db"))
	}
	w, err := start(p.kind, filepath.Join(l.dir, p.kind+".log"), path, nil, args...)
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	took, err := w.settled(ctx)
	if err != nil {
		return c, err
	}
	if c, err = m.read(ctx, w); err != nil {
		return c, err
	}
	c.events, c.took = events, took
	return c, nil
}

// settled waits until a peer says how long it took.
func (p *child) settled(ctx context.Context) (took time.Duration, err error) {
	err = fleet.WaitFor(ctx, time.Hour, func() string { return p.name + " is not done" }, func() (bool, error) {
		if err := p.died(); err != nil {
			return false, err
		}
		said, err := os.ReadFile(p.log)
		if err != nil {
			return false, err
		}
		for line := range strings.Lines(string(said)) {
			if seconds, ok := strings.CutPrefix(line, "done "); ok {
				s, err := strconv.ParseFloat(strings.TrimSpace(seconds), 64)
				took = time.Duration(s * float64(time.Second))
				return true, err
			}
		}
		return false, nil
	})
	return took, err
}

// write writes the bodies of n events to a file, one a line.
func (s shape) write(name string, n int) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out := bufio.NewWriter(f)
	for i := range n {
		_, _ = fmt.Fprintln(out, s.body(i, created(i))) // Flush returns the first error
	}
	return out.Flush()
}
