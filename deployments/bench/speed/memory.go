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

// memoryMost is how much memory a worker may use however far it is behind, in MB.
const memoryMost = 120

// steadyFor is how long a worker's memory must not have grown to count as all it
// takes, and steadyWithin how long that is waited for.
const (
	steadyFor    = 15 * time.Second
	steadyWithin = 3 * time.Minute
)

// Memory measures a worker's memory while it is far behind: with a provider that is
// down, and while the backlog drains once it is back.
func Memory(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("memory", flag.ContinueOnError)
	after := flags.Duration("after", 2*time.Minute, "how long to look on once the provider is back, if the backlog lasts so long")
	steady := flags.Duration("steady", steadyFor, "how long the memory must not have grown with the provider down")
	retry := flags.Duration("retry", time.Minute, "pause after the first failed attempt (retry.first)")
	var p profiles
	flags.StringVar(&p.heap, "heap", "", "`file` for a profile of the worker's heap at its most")
	s, err := parseSeries(flags, args, "sizes", "10000,100000,1000000", "events behind")
	if err != nil {
		return err
	}
	s.settings = fmt.Sprintf("retry: {first: %s}", *retry)
	return withPrograms(ctx, func(programs *fleet.Programs) error {
		s.write(out)
		return s.each(func(n int) (missed bool, err error) {
			b, err := behind(ctx, programs, s.setup, s.shape, n, looks{*steady, *after, p})
			if err != nil {
				return false, fmt.Errorf("%d events behind: %w", n, err)
			}
			held := mb(b.peak) <= memoryMost
			_, _ = fmt.Fprintf(out, "memory: behind=%d shape=%s down_mb=%.1f (most %.1f) back_most_mb=%.1f end_mb=%.1f waiting=%d, after %.0fs %d limit=%d: %s\n",
				n, s.shape.name, mb(b.down), mb(b.downPeak), mb(b.peak), mb(b.end), b.waiting, b.took.Seconds(), b.left, memoryMost, verdict(held))
			return !held, nil
		})
	})
}

// memories are a worker's in RAM, in bytes.
type memories struct {
	// down is what it had with the provider down, downPeak the most until then.
	down, downPeak int64
	// peak is the most until the end, end what it had then.
	peak, end int64
	// waiting are the entries and parked entities when the provider came back, left
	// those after took. A worker that logs events appends their further signals, so they
	// may become more at first.
	waiting, left int64
	took          time.Duration
}

// looks says how long a worker is looked at, and which profiles it writes.
type looks struct {
	// steady is how long its memory must not have grown with the provider down, after
	// how long it is looked at, at most, once the provider is back.
	steady, after time.Duration
	profiles      profiles
}

func behind(ctx context.Context, programs *fleet.Programs, s setup, sh shape, events int, how looks) (m memories, err error) {
	l, err := newLab(ctx, programs, s)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	if err := sh.fill(ctx, l.streams, 0, events); err != nil {
		return m, err
	}
	if err := l.tell(ctx, goDown); err != nil {
		return m, err
	}
	w, err := l.startWorker(ctx, how.profiles)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	if m.down, m.downPeak, err = w.steady(ctx, how.steady); err != nil {
		return m, err
	}
	if m.waiting, err = l.backlog(ctx); err != nil {
		return m, err
	}
	if err := l.tell(ctx, comeUp); err != nil {
		return m, err
	}
	from := time.Now()
	for m.left = m.waiting; m.left > 0 && time.Since(from) < how.after; {
		if err := fleet.Pause(ctx, 50*time.Millisecond); err != nil {
			return m, err
		}
		if m.left, err = l.backlog(ctx); err != nil {
			return m, err
		}
		if err := w.died(); err != nil {
			return m, err
		}
	}
	m.took = time.Since(from)
	m.end, m.peak, err = w.memory()
	return m, err
}

// tell has the provider go down or come up.
func (l *lab) tell(ctx context.Context, path string) error {
	if _, err := get(ctx, "http://"+l.api+path); err != nil {
		return fmt.Errorf("tell the provider %s: %w", path, err)
	}
	return nil
}

// memory returns what a process has in RAM, and the most it has had.
func (p *child) memory() (now, most int64, err error) {
	if now, err = memoryOf(p.pid(), "VmRSS"); err != nil {
		return 0, 0, err
	}
	most, err = memoryOf(p.pid(), "VmHWM")
	return now, most, err
}

// steady waits until the most a process has had in RAM has not grown for so long, and
// returns its memory.
func (p *child) steady(ctx context.Context, long time.Duration) (now, most int64, err error) {
	var grew time.Time
	began := time.Now()
	err = fleet.WaitFor(ctx, steadyWithin+long, func() string { return "the memory of " + p.name + " grows" }, func() (bool, error) {
		if err := p.died(); err != nil {
			return false, err
		}
		was := most
		if now, most, err = p.memory(); err != nil {
			return false, err
		}
		if most > was {
			grew = time.Now()
		}
		return time.Since(grew) >= long || time.Since(began) >= steadyWithin, nil
	})
	return now, most, err
}
