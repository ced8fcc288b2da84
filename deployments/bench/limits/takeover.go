package limits

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Takeover kills workers with events in flight, one after the other, and
// measures for every shard of the dead how long it took until the first event
// settled that had come before.
func Takeover(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("takeover", flag.ContinueOnError)
	kills := flags.Int("kills", 20, "workers to kill, one after the other")
	ttl := flags.Duration("lease", 5*time.Second, "time to live of leases")
	rate := flags.Float64("rate", 100, "events a second")
	check, err := parse(flags, args)
	if err != nil {
		return err
	}
	limit := *ttl + time.Second
	each := *ttl + 4*time.Second
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*kills)*(each+30*time.Second)+2*time.Minute)
	defer cancel()
	return measure(ctx, fleet.Plan{APIs: 1, Workers: 3, LeaseTTL: *ttl}, func(ctx context.Context, f *fleet.Fleet) error {
		if err := f.Simulator.Chaos(ctx, simulator.Chaos{Latency: simulator.Duration(100 * time.Millisecond)}); err != nil {
			return err
		}
		load := simulator.Load{Entities: 500, Events: int(*rate * each.Seconds() * float64(*kills) * 4), Rate: *rate}
		if err := f.Simulator.StartLoad(ctx, load); err != nil {
			return err
		}
		if err := made(ctx, f, 600, time.Minute); err != nil {
			return err
		}
		var first, slowest, times []time.Duration
		for i := 0; len(first) < *kills; i++ {
			took, err := killed(ctx, f, f.Members(fleet.Worker)[i%3], each)
			if err != nil {
				return err
			}
			if len(took) == 0 {
				_, _ = fmt.Fprintln(out, "nothing was in flight; once more")
				continue
			}
			first, slowest, times = append(first, took[0]), append(slowest, took[len(took)-1]), append(times, took...)
			_, _ = fmt.Fprintf(out, "kill %2d: first settle after %s, last of %d shards after %s\n", len(first), took[0].Round(time.Millisecond), len(took), took[len(took)-1].Round(time.Millisecond))
		}
		return tell(out, longest(first) <= limit && longest(slowest) <= limit, *check,
			"takeover: kills=%d shards=%d first_settle_max_ms=%d every_shard_max_ms=%d limit_ms=%d",
			*kills, len(times), longest(first).Milliseconds(), longest(slowest).Milliseconds(), limit.Milliseconds())
	})
}

// killed kills a worker, waits, and returns the recovery time of each of its
// shards with waiting events, shortest first. None: nothing was in flight. The
// worker runs again at the end.
func killed(ctx context.Context, f *fleet.Fleet, m *fleet.Member, wait time.Duration) ([]time.Duration, error) {
	err := fleet.WaitFor(ctx, 20*time.Second, func() string { return m.Name + " has no share of the shards" }, func() (bool, error) {
		s, err := f.OutageOf(ctx, m)
		return len(s.Shards) > 10, err
	})
	if err != nil {
		return nil, err
	}
	if err := fleet.Pause(ctx, time.Second); err != nil { // and has work in flight
		return nil, err
	}
	s, err := f.OutageOf(ctx, m)
	if err != nil {
		return nil, err
	}
	m.Kill()
	if err := fleet.Pause(ctx, wait); err != nil {
		return nil, err
	}
	rows, err := received(ctx, f, s.At.Add(-time.Minute), s.At)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if r.ProcessedAt.IsZero() && len(r.Entities) > 0 && slices.Contains(s.Shards, r.Entities[0].Signal.Shard) {
			return nil, fmt.Errorf("%s had %s in flight, which has not settled within %s", m.Name, r.ID, wait)
		}
	}
	if err := m.Start(); err != nil {
		return nil, err
	}
	return s.Recoveries(rows), m.WaitReady(ctx, 20*time.Second)
}

// received are the rows of events received between two times.
func received(ctx context.Context, f *fleet.Fleet, from, to time.Time) ([]*storage.EventRow, error) {
	var all []*storage.EventRow
	for filter := (storage.EventFilter{From: from, To: to, Limit: 200}); ; {
		page, err := f.Store.Events(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("read the event log: %w", err)
		}
		all = append(all, page.Items...)
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			return all, nil
		}
	}
}

func longest(list []time.Duration) (d time.Duration) {
	for _, v := range list {
		d = max(d, v)
	}
	return d
}
