package speed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
)

// What an idle worker may use.
const (
	// idleCPU is the share of a core, of a worker with 64 shards and one source.
	idleCPU = 0.003
	// idleRenewals is how often a shard's lease may be renewed, a second.
	idleRenewals = 0.5
	// idleCommands is how many other commands it may send, a second.
	idleCommands = 20
)

// resting is one fleet that has nothing to do.
type resting struct {
	shards, sources int
	cpu             float64 // the limit; 0: none
}

var restings = []resting{{64, 1, idleCPU}, {256, 10, 0}}

// Idle measures what a worker uses that has nothing to do.
func Idle(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("idle", flag.ContinueOnError)
	each := flags.Duration("for", time.Minute, "how long to look")
	settle := flags.Duration("settle", 10*time.Second, "how long to wait before, once the worker holds all shards")
	check := flags.Bool("check", false, "fail if a limit is missed")
	var s setup
	flags.StringVar(&s.fsync, "fsync", "everysec", "Redis' appendfsync")
	shards := flags.Int("shards", 0, "shards (default: 64 with 1 source, and then 256 with 10)")
	sources := flags.Int("sources", 1, "sources, with -shards")
	var p profiles
	flags.StringVar(&p.cpu, "profile", "", "`file` for a CPU profile of the worker")
	if err := flags.Parse(args); err != nil {
		return err
	}
	s.concurrency = 100
	all := restings
	if *shards > 0 {
		all = []resting{{*shards, *sources, idleCPU}}
	}
	return withPrograms(ctx, func(programs *fleet.Programs) error {
		missed := false
		for _, r := range all {
			s.shards, s.sources = r.shards, r.sources
			u, err := idle(ctx, programs, s, *settle, *each, p)
			if err != nil {
				return fmt.Errorf("%d shards, %d sources: %w", r.shards, r.sources, err)
			}
			missed = u.write(out, r) || missed
		}
		if missed && *check {
			return errMissed
		}
		return nil
	})
}

// idleUse is what a worker used while it had nothing to do.
type idleUse struct {
	took  time.Duration
	cpu   time.Duration
	wakes int64
	redis redisUse
	traffic
}

func idle(ctx context.Context, programs *fleet.Programs, s setup, settle, each time.Duration, p profiles) (u idleUse, err error) {
	l, err := newLab(ctx, programs, s)
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	w, err := l.startWorker(ctx, p)
	if err != nil {
		return u, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if err := l.holdsAll(ctx, w); err != nil {
		return u, err
	}
	if err := fleet.Pause(ctx, settle); err != nil {
		return u, err
	}
	m, err := l.meter(ctx)
	if err != nil {
		return u, err
	}
	before, err := cpuOf(w.pid())
	if err != nil {
		return u, err
	}
	slept, err := wakesOf(w.pid())
	if err != nil {
		return u, err
	}
	from := time.Now()
	if u.traffic, err = monitor(ctx, l.redis.Addr(), each); err != nil {
		return u, err
	}
	u.took = time.Since(from)
	if u.wakes, err = wakesOf(w.pid()); err != nil {
		return u, err
	}
	u.wakes -= slept
	c, err := m.read(ctx, w)
	u.cpu, u.redis = c.worker-before, c.redis
	return u, errors.Join(err, w.died())
}

// holdsAll waits until a worker holds the leases of all shards.
func (l *lab) holdsAll(ctx context.Context, w *child) error {
	held := 0
	return fleet.WaitFor(ctx, startWithin, func() string { return fmt.Sprintf("%d of %d shards are held", held, l.shards) }, func() (bool, error) {
		shards, _, err := l.streams.Fleet(ctx, l.names())
		if err != nil {
			return false, err
		}
		held = 0
		for _, s := range shards {
			if s.Owner != "" {
				held++
			}
		}
		return held == l.shards, w.died()
	})
}

// write writes what was used and reports whether a limit was missed.
func (u idleUse) write(out io.Writer, r resting) (missed bool) {
	seconds := u.took.Seconds()
	share := u.cpu.Seconds() / seconds
	renewals, rest := float64(u.renewals)/seconds, float64(total(u.others))/seconds
	most := idleRenewals * float64(r.shards)
	held := renewals <= most && rest <= idleCommands && (r.cpu == 0 || share <= r.cpu)
	limit := "no limit"
	if r.cpu > 0 {
		limit = fmt.Sprintf("≤ %.1f %%", 100*r.cpu)
	}
	fmt.Fprintf(out, "idle, %d shards, %d sources: %.2f %% of a core (%s), %.1f lease renewals/s (≤ %.0f), %.1f other commands/s (≤ %d; below): %s\n",
		r.shards, r.sources, 100*share, limit, renewals, most, rest, idleCommands, verdict(held))
	fmt.Fprintf(out, "  its threads woke %.0f times/s\n", float64(u.wakes)/seconds)
	fmt.Fprintf(out, "  redis: %.2f %% of a core, %.0f commands/s with those inside scripts, %.1f reads of a socket/s\n",
		100*u.redis.cpu.Seconds()/seconds, float64(total(u.redis.calls))/seconds, float64(u.redis.reads)/seconds)
	writeCalls(out, u.others, seconds)
	return !held
}
