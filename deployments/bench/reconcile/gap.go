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

// limitGap is how long a lost event may take beyond an interval.
const limitGap = 2 * time.Second

// Gap measures how long events take whose webhooks are lost.
func Gap(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("gap", flag.ContinueOnError)
	every := flags.Duration("every", 10*time.Second, "interval of the search for missed events; the default of the settings is 1m")
	check, err := parse(flags, args)
	if err != nil {
		return err
	}
	// Events go on for two intervals, so that they fall anywhere in one.
	const eventRate = 20
	span := 2**every + 5*time.Second
	ctx, cancel := context.WithTimeout(ctx, span+*every+3*time.Minute)
	defer cancel()
	p := fleet.Plan{
		APIs: 1, Workers: 1, Reconcilers: 1, Rate: 1000,
		Reconcile: fmt.Sprintf("{gaps: {every: %s}, sweep: {every: %s}}", *every, never),
	}
	return measure(ctx, out, p, func(ctx context.Context, s *subject) error {
		if err := s.Simulator.Chaos(ctx, simulator.Chaos{Lose: 0.3}); err != nil {
			return err
		}
		events := int(eventRate * span.Seconds())
		if err := s.Simulator.StartLoad(ctx, simulator.Load{Entities: 100, Events: events, Rate: eventRate}); err != nil {
			return err
		}
		took, err := s.gaps(ctx, span+*every+time.Minute)
		if err != nil {
			return err
		}
		most := percentile(took, 1)
		held, failed := verdict(most <= *every+limitGap, *check)
		fmt.Fprintf(out, "gap: events=%d lost=%d interval=%s until_processed median=%.1fs p99=%.1fs most=%.1fs (limit %.1fs): %s\n",
			events, len(took), *every, percentile(took, 0.5).Seconds(), percentile(took, 0.99).Seconds(), most.Seconds(), (*every + limitGap).Seconds(), held)
		return failed
	})
}

// gaps waits until all events of the load are processed and returns how long
// after they were made those were that never came.
func (s *subject) gaps(ctx context.Context, within time.Duration) ([]time.Duration, error) {
	var took []time.Duration
	open := 0
	err := fleet.WaitFor(ctx, within, func() string { return fmt.Sprintf("%d lost events are not processed", open) }, func() (bool, error) {
		p, err := s.Simulator.Progress(ctx)
		if err != nil || !p.Done {
			return false, err
		}
		events, err := s.Simulator.Events(ctx)
		if err != nil {
			return false, err
		}
		list, err := s.Rows(ctx)
		if err != nil {
			return false, err
		}
		rows := map[string]*storage.EventRow{}
		for _, row := range list {
			rows[row.ID] = row
		}
		took, open = nil, 0
		for _, e := range events {
			row := rows[e.ID]
			switch {
			case e.Accepted > 0:
			case row == nil || row.ProcessedAt.IsZero():
				open++
			default:
				took = append(took, row.ProcessedAt.Sub(row.CreatedAt))
			}
		}
		return open == 0, s.Died()
	})
	return took, err
}
