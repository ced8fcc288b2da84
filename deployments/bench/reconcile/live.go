package reconcile

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

// limitRise is how much longer live events may take while sweeps run.
const limitRise = 1.2

// Live measures whether live events wait for sweeps.
func Live(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("live", flag.ContinueOnError)
	rounds := flags.Int("rounds", 7, "interleaved rounds; medians are compared")
	each := flags.Duration("each", 12*time.Second, "length of a turn, one with and one without sweeps in a round")
	events := flags.Float64("events", 50, "live events a second")
	rate := flags.Int("rate", 400, "requests a second the provider allows")
	entities := flags.Int("entities", 3000, "accounts and orders that sweeps compare, a tenth of them accounts")
	check, err := parse(flags, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(2**rounds+2)**each+6*time.Minute)
	defer cancel()
	p := fleet.Plan{
		APIs: 1, Workers: 2, Reconcilers: 1, Rate: *rate,
		Reconcile: fmt.Sprintf("{gaps: {every: 24h}, sweep: {every: %s}}", never),
	}
	return measure(ctx, out, p, func(ctx context.Context, s *subject) error {
		if err := s.world(ctx, *entities, *entities/10); err != nil {
			return err
		}
		// By a backfill: what sweeps find would be judged in the middle of it all.
		if _, err := s.backfill(ctx, *entities); err != nil {
			return err
		}
		// The provider is not next door: its answers take some time.
		if err := s.Simulator.Chaos(ctx, simulator.Chaos{Latency: simulator.Duration(20 * time.Millisecond)}); err != nil {
			return err
		}
		// Between two turns a sweep begins or ends, and what is under way too.
		const between = 8 * time.Second
		n := int(*events * (*each + between).Seconds() * float64(2**rounds+2))
		if err := s.Simulator.StartLoad(ctx, simulator.Load{Entities: 200, Events: n, Rate: *events}); err != nil {
			return err
		}
		var without, with []time.Duration
		var ratios []float64
		used := 0.0
		for round := range *rounds + 1 {
			var a, b time.Duration
			var asked int64
			for i := range 2 {
				var err error
				if i == round%2 { // they take turns at being first
					a, _, err = s.turn(ctx, *each, false)
				} else {
					b, asked, err = s.turn(ctx, *each, true)
				}
				if err != nil {
					return err
				}
			}
			if round == 0 {
				continue // warms up
			}
			without, with = append(without, a), append(with, b)
			ratios = append(ratios, float64(b)/float64(a))
			used += float64(asked) / (float64(*rate) * each.Seconds()) / float64(*rounds)
		}
		rise := float64(median(with)) / float64(median(without))
		held, failed := verdict(rise <= limitRise, *check)
		fmt.Fprintf(out, "live: events=%.0f/s of %d requests/s, p99 without sweeps=%.1fms with=%.1fms (medians of %d) ratio=%.2f (limit %.2f; by round %.2f) rate_used_with=%.0f%%: %s\n",
			*events, *rate, ms(median(without)), ms(median(with)), *rounds, rise, limitRise, ratios, 100*used, held)
		return failed
	})
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// turn lets events flow for a while, with sweeps or without, and returns the
// 99th percentile of what they took and how many requests were made.
func (s *subject) turn(ctx context.Context, each time.Duration, sweeping bool) (p99 time.Duration, asked int64, err error) {
	if sweeping {
		id, err := s.startSweep(ctx)
		if err != nil {
			return 0, 0, err
		}
		defer func() {
			if failed := s.end(ctx, id); err == nil {
				err = failed
			}
		}()
		if err := s.begun(ctx, id); err != nil {
			return 0, 0, err
		}
	}
	before, err := s.requests(ctx)
	if err != nil {
		return 0, 0, err
	}
	from := time.Now()
	select {
	case <-time.After(each):
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	to := time.Now()
	after, err := s.requests(ctx)
	if err != nil {
		return 0, 0, err
	}
	took, err := s.took(ctx, from, to)
	return percentile(took, 0.99), after.total() - before.total(), err
}

// begun waits until a sweep asks for lists.
func (s *subject) begun(ctx context.Context, id string) error {
	return fleet.WaitFor(ctx, 30*time.Second, func() string { return id + " does not begin" }, func() (bool, error) {
		page, err := s.Store.Tasks(ctx, storage.TaskFilter{Parent: id, Statuses: []storage.TaskStatus{storage.TaskDone}, Limit: 1})
		return len(page.Items) > 0, err
	})
}

// end cancels a sweep and waits until its partitions are left alone.
func (s *subject) end(ctx context.Context, id string) error {
	t, err := s.Store.Task(ctx, id)
	if err != nil {
		return err
	}
	if t.Status.Final() {
		return fmt.Errorf("the sweep was over before the turn was: make the world larger (-entities) or turns shorter (-each)")
	}
	if err := s.Operate(ctx, "DELETE", "/v1/sweeps/"+id, nil, nil); err != nil {
		return err
	}
	return fleet.WaitFor(ctx, 30*time.Second, func() string { return id + " does not end" }, func() (bool, error) {
		t, err := s.Store.Task(ctx, id)
		if err != nil || !t.Status.Final() {
			return false, err
		}
		page, err := s.Store.Tasks(ctx, storage.TaskFilter{
			Parent: id, Statuses: []storage.TaskStatus{storage.TaskWaiting, storage.TaskRunning}, Limit: 1,
		})
		return len(page.Items) == 0, err
	})
}

// took are the times of the events received in a turn, once all are processed.
func (s *subject) took(ctx context.Context, from, to time.Time) (all []time.Duration, err error) {
	var open *storage.EventRow
	what := func() string {
		if open == nil {
			return "the log has no event of the turn"
		}
		return fmt.Sprintf("event %s of the turn is not processed: it is %s", open.ID, open.Status)
	}
	err = fleet.WaitFor(ctx, 20*time.Second, what, func() (bool, error) {
		all = nil
		for filter := (storage.EventFilter{From: from, To: to, Limit: 200}); ; {
			page, err := s.Store.Events(ctx, filter)
			if err != nil {
				return false, fmt.Errorf("read the event log: %w", err)
			}
			for _, row := range page.Items {
				if row.ProcessedAt.IsZero() {
					open = row
					return false, nil
				}
				all = append(all, row.ProcessedAt.Sub(row.ReceivedAt))
			}
			if filter.Cursor = page.NextCursor; filter.Cursor == "" {
				return len(all) > 0, nil
			}
		}
	})
	return all, err
}
