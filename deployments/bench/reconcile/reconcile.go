package reconcile

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Commands are the limits that can be measured, by name.
var Commands = map[string]func(ctx context.Context, args []string, out io.Writer) error{
	"backfill": Backfill, "sweep": Sweep, "gap": Gap, "live": Live,
}

// errMissed is the error of -check.
var errMissed = errors.New("a limit was missed")

// subject is a fleet that is measured.
type subject struct {
	*fleet.Fleet
	out io.Writer
}

// never is how often things are done that are not to be done by themselves.
const never = "168h"

// measure starts a fleet for f and ends it afterwards.
func measure(ctx context.Context, out io.Writer, p fleet.Plan, f func(context.Context, *subject) error) (err error) {
	programs, err := fleet.NewPrograms()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, programs.Close()) }()
	if err := programs.Build(ctx); err != nil {
		return err
	}
	p.Fsync = "everysec"
	running, err := fleet.Start(ctx, programs, p)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			for _, m := range running.Members("") {
				err = fmt.Errorf("%w\nlast words of %s:\n%s", err, m.Name, m.LastWords())
			}
		}
		err = errors.Join(err, running.Close())
	}()
	return f(ctx, &subject{running, out})
}

// parse reads the flags of a command; check is its -check.
func parse(flags *flag.FlagSet, args []string) (check *bool, err error) {
	check = flags.Bool("check", false, "fail if a limit is missed")
	return check, flags.Parse(args)
}

// verdict is the end of a command.
func verdict(held, check bool) (string, error) {
	if held {
		return "held", nil
	}
	if check {
		return "MISSED", errMissed
	}
	return "MISSED", nil
}

// startSweep starts a sweep as an operator does.
func (s *subject) startSweep(ctx context.Context) (id string, err error) {
	var begun struct{ ID string }
	err = s.Operate(ctx, "POST", "/v1/sweeps", map[string]string{"source": fleet.Source}, &begun)
	return begun.ID, err
}

// finished waits until a task is over and returns it.
func (s *subject) finished(ctx context.Context, id string, within time.Duration) (t *storage.Task, err error) {
	err = fleet.WaitFor(ctx, within, func() string { return fmt.Sprintf("%s is not over: %+v", id, t) }, func() (bool, error) {
		if t, err = s.Store.Task(ctx, id); err != nil {
			return false, err
		}
		return t.Status.Final(), s.Died()
	})
	if err == nil && t.Status != storage.TaskDone {
		err = fmt.Errorf("%s is %s: %s", id, t.Status, t.Error)
	}
	return t, err
}

// idle waits until nothing is done any more: no sweep runs, nothing is queued.
func (s *subject) idle(ctx context.Context, within time.Duration) error {
	err := fleet.WaitFor(ctx, within, func() string { return "a sweep still runs" }, func() (bool, error) {
		page, err := s.Store.Tasks(ctx, storage.TaskFilter{
			Kinds: []string{"sweep", "partition"}, Statuses: []storage.TaskStatus{storage.TaskWaiting, storage.TaskRunning},
		})
		return len(page.Items) == 0, err
	})
	if err != nil {
		return err
	}
	return s.Drain(ctx, within)
}

// filled makes the mirror hold a silent world of the simulator by two sweeps:
// the first finds what is missing, the second that nothing is any more.
func (s *subject) filled(ctx context.Context, within time.Duration) error {
	for range 2 {
		id, err := s.startSweep(ctx)
		if err != nil {
			return err
		}
		if _, err := s.finished(ctx, id, within); err != nil {
			return err
		}
		if err := s.idle(ctx, within); err != nil {
			return err
		}
	}
	return nil
}

// requests are how many answers the provider gave, by whether their path ends
// in an id, and how many of them were 429. Events are left out.
type requests struct{ lists, single, tooMany int64 }

func (s *subject) requests(ctx context.Context) (r requests, err error) {
	c, err := s.Simulator.Counters(ctx)
	for pattern, by := range c.Requests {
		if strings.HasSuffix(pattern, "/events") {
			continue
		}
		for status, n := range by {
			switch {
			case status == "429":
				r.tooMany += n
			case strings.HasSuffix(pattern, "}"):
				r.single += n
			default:
				r.lists += n
			}
		}
	}
	return r, err
}

func (r requests) total() int64 { return r.lists + r.single + r.tooMany }

// percentile returns the value below which a share of the values are.
func percentile(values []time.Duration, share float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	values = slices.Clone(values)
	slices.Sort(values)
	return values[min(len(values)-1, int(share*float64(len(values))))]
}

func median[T ~int64 | ~float64](values []T) T {
	values = slices.Clone(values)
	slices.Sort(values)
	if n := len(values); n%2 == 0 {
		return (values[n/2-1] + values[n/2]) / 2
	}
	return values[len(values)/2]
}
