package limits

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/simulator"
)

const (
	// shareWanted is the least share of the provider's rate a drain uses.
	shareWanted = 0.9
	// fetchesWanted is the most requests per entity of a drain, a few repeated
	// ones of events that came in its middle included.
	fetchesWanted = 1.02
)

// Outage has the provider away while events go on, and measures how fast the
// backlog drains once it is back, and with how many requests.
func Outage(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("outage", flag.ContinueOnError)
	away := flags.Duration("for", time.Minute, "length of the outage")
	events := flags.Float64("events", 300, "events a second during it")
	entities := flags.Int("entities", 3000, "entities they are about")
	rate := flags.Int("rate", 200, "requests a second the provider allows")
	check, err := parse(flags, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *away+10*time.Minute)
	defer cancel()
	p := fleet.Plan{APIs: 1, Workers: 2, Rate: *rate, First: time.Minute, Cap: time.Hour, Attempts: 10}
	return measure(ctx, p, func(ctx context.Context, f *fleet.Fleet) error {
		d, err := outage(ctx, f, *away, *events, *entities)
		if err != nil {
			return err
		}
		share := float64(d.asked) / (float64(*rate) * d.took.Seconds())
		each := float64(d.fetched) / float64(d.waiting)
		return tell(out, share >= shareWanted && each <= fetchesWanted && d.dead == 0, *check,
			"outage: events=%d entities=%d resumed_after_ms=%d drained_in_ms=%d rate_used=%.3f (≥ %.2f) fetches_per_entity=%.3f (≤ %.2f) dead=%d",
			d.events, d.waiting, d.resumed.Milliseconds(), d.took.Milliseconds(), share, shareWanted, each, fetchesWanted, d.dead)
	})
}

// drained is how a backlog drained.
type drained struct {
	events int
	// waiting are the entities that had something to settle.
	waiting int
	// resumed is from the provider's return to the first answer, took from
	// there until nothing live was left.
	resumed, took time.Duration
	// asked are all requests of that time, fetched those for the entities that
	// waited.
	asked, fetched int64
	dead           int64
}

func outage(ctx context.Context, f *fleet.Fleet, away time.Duration, events float64, entities int) (d drained, err error) {
	if err := f.Simulator.Chaos(ctx, near); err != nil {
		return d, err
	}
	d.events = int(events * away.Seconds())
	load := simulator.Load{Entities: entities, Events: entities + d.events, Rate: events}
	if err := f.Simulator.StartLoad(ctx, load); err != nil {
		return d, err
	}
	if err := made(ctx, f, entities, 10*time.Minute); err != nil {
		return d, err
	}
	down := near
	down.Outage = "down"
	if err := f.Simulator.Chaos(ctx, down); err != nil {
		return d, err
	}
	if err := f.Simulator.WaitSent(ctx, 2*away+time.Minute); err != nil {
		return d, err
	}
	if d.waiting, err = waiting(ctx, f); err != nil {
		return d, err
	}
	before, err := fetches(ctx, f)
	if err != nil {
		return d, err
	}
	if err := f.Simulator.Chaos(ctx, near); err != nil {
		return d, err
	}
	if err := d.watch(ctx, f, before); err != nil {
		return d, err
	}
	if err := f.Drain(ctx, 5*time.Minute); err != nil {
		return d, err
	}
	d.dead, err = f.Letters(ctx, mirror.LetterOpen)
	return d, err
}

// watch looks on while the backlog drains.
func (d *drained) watch(ctx context.Context, f *fleet.Fleet, before answered) error {
	back := time.Now()
	var first time.Time
	var start answered
	var left fleet.Left
	return fleet.WaitFor(ctx, 10*time.Minute, func() string { return "left: " + left.String() }, func() (_ bool, err error) {
		now, err := fetches(ctx, f)
		if err != nil {
			return false, err
		}
		if first.IsZero() {
			if now.entities > before.entities {
				first, start = time.Now(), now
				d.resumed = first.Sub(back)
			}
			return false, nil
		}
		if left, err = f.Left(ctx); err != nil || left.Live+left.Parked > 0 || left.Open {
			return false, err
		}
		d.took = time.Since(first)
		// The first look may have come after a first gush.
		d.asked, d.fetched = now.all-start.all, now.entities-before.entities
		return true, nil
	})
}

// waiting counts the entities with something to settle.
func waiting(ctx context.Context, f *fleet.Fleet) (int, error) {
	seen := map[string]bool{}
	for cursor := ""; ; {
		rows, next, err := f.Store.Unsettled(ctx, fleet.Source, time.Now(), 500, cursor)
		if err != nil {
			return 0, fmt.Errorf("look for unsettled events: %w", err)
		}
		for _, r := range rows {
			for _, o := range r.Entities {
				if !o.Status.Final() {
					seen[o.Ref.Key.String()] = true
				}
			}
		}
		if cursor = next; cursor == "" {
			return len(seen), nil
		}
	}
}

// answered are the API's good answers: all, and those for single accounts and
// orders.
type answered struct{ all, entities int64 }

func fetches(ctx context.Context, f *fleet.Fleet) (a answered, err error) {
	c, err := f.Simulator.Counters(ctx)
	for pattern, by := range c.Requests {
		a.all += by["200"]
		if strings.HasSuffix(pattern, "/orders/{id}") || strings.HasSuffix(pattern, "/accounts/{id}") {
			a.entities += by["200"]
		}
	}
	return a, err
}
