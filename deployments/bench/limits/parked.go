package limits

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
)

// throughputWanted is the least share of the throughput that is left when a
// tenth of the entities fail.
const throughputWanted = 0.95

// Parked measures the throughput with a tenth of the entities failing and
// parked against that without, in rounds that take turns on one fleet.
func Parked(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("parked", flag.ContinueOnError)
	rounds := flags.Int("rounds", 7, "interleaved rounds; the median of their ratios counts")
	events := flags.Int("events", 18000, "events of a turn")
	entities := flags.Int("entities", 600, "entities of a turn")
	share := flags.Float64("share", 0.1, "share of them that fails")
	check, err := parse(flags, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(*rounds)*5*time.Minute)
	defer cancel()
	p := fleet.Plan{APIs: 1, Workers: 2, First: time.Hour, Cap: time.Hour, Fsync: "everysec"}
	return measure(ctx, p, func(ctx context.Context, f *fleet.Fleet) error {
		var ratios []float64
		for round := range *rounds + 1 {
			var without, with time.Duration
			for i := range 2 {
				var err error
				if i == round%2 { // the second turn finds the larger database
					without, err = turn(ctx, f, *events, *entities, 0)
				} else {
					with, err = turn(ctx, f, *events, *entities, *share)
				}
				if err != nil {
					return err
				}
			}
			if round == 0 {
				continue // files and caches are cold
			}
			ratios = append(ratios, without.Seconds()/with.Seconds())
			_, _ = fmt.Fprintf(out, "round %d: without %s, with %s\n", round, without.Round(time.Millisecond), with.Round(time.Millisecond))
		}
		slices.Sort(ratios)
		median := ratios[len(ratios)/2]
		return tell(out, median >= throughputWanted, *check,
			"parked: share=%.2f events=%d rounds=%d throughput_ratio=%.3f (≥ %.2f) worst=%.3f", *share, *events, *rounds, median, throughputWanted, ratios[0])
	})
}

// turn makes events as fast as they are taken and returns how long it took
// until nothing of them was left that could be done.
func turn(ctx context.Context, f *fleet.Fleet, events, entities int, share float64) (time.Duration, error) {
	if err := f.Simulator.Chaos(ctx, near); err != nil {
		return 0, err
	}
	known, err := f.Simulator.Truth(ctx)
	if err != nil {
		return 0, err
	}
	load := simulator.Load{Entities: entities, Events: entities + events, Rate: 5000}
	if err := f.Simulator.StartLoad(ctx, load); err != nil {
		return 0, err
	}
	if err := made(ctx, f, entities, time.Minute); err != nil {
		return 0, err
	}
	began := time.Now()
	all, err := f.Simulator.Truth(ctx) // also without, so that both are disturbed alike
	if err != nil {
		return 0, err
	}
	maps.DeleteFunc(all, func(name string, _ simulator.Truth) bool { _, old := known[name]; return old })
	if err := f.Simulator.Chaos(ctx, ill(all, share)); err != nil {
		return 0, err
	}
	if err := f.Simulator.WaitSent(ctx, 3*time.Minute); err != nil {
		return 0, err
	}
	err = fleet.WaitFor(ctx, 3*time.Minute, func() string { return "live entries are left" }, func() (bool, error) {
		left, err := f.Left(ctx)
		return left.Live == 0, err
	})
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	return took, cure(ctx, f, share > 0)
}

// ill makes a share of the orders answer 500.
func ill(all map[string]simulator.Truth, share float64) simulator.Chaos {
	c := near
	c.Entities = map[string]int{}
	wanted := int(share * float64(len(all)))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name].Kind == "order" && len(c.Entities) < wanted {
			c.Entities[name] = http.StatusInternalServerError
		}
	}
	return c
}

// cure lets everything end well before the next turn. With must have parked
// something.
func cure(ctx context.Context, f *fleet.Fleet, with bool) error {
	left, err := f.Left(ctx)
	if err != nil {
		return err
	}
	if with && left.Parked == 0 {
		return fmt.Errorf("nothing was parked")
	}
	if err := f.Simulator.Chaos(ctx, near); err != nil {
		return err
	}
	if _, err := f.Streams.RetryParked(ctx, fleet.Source); err != nil {
		return err
	}
	return f.Drain(ctx, 2*time.Minute)
}
