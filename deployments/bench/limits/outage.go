package limits

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// shareWanted is the least share of the provider's rate a drain uses.
const shareWanted = 0.9

// Outage has the provider away while events go on, and measures how fast the
// backlog drains once it is back, and with how many requests.
//
// A pass is as long as it takes to ask for every waiting entity once at the
// provider's rate. What was in flight when the provider came back may be asked for
// before the rest of the backlog is read, and then once more in the next pass; in
// none of them is an entity asked for twice.
func Outage(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("outage", flag.ContinueOnError)
	away := flags.Duration("for", time.Minute, "length of the outage")
	events := flags.Float64("events", 300, "events a second during it")
	entities := flags.Int("entities", 0, "entities they are about; 0: 2,000 for each minute")
	rate := flags.Int("rate", 200, "requests a second the provider allows")
	check, err := parse(flags, args)
	if err != nil {
		return err
	}
	if *entities <= 0 {
		*entities = max(1, int(2000*away.Minutes()))
	}
	ctx, cancel := context.WithTimeout(ctx, *away+10*time.Minute)
	defer cancel()
	p := fleet.Plan{APIs: 1, Workers: 2, Rate: *rate, First: 5 * time.Second, Cap: time.Hour, Attempts: 10}
	return measure(ctx, p, func(ctx context.Context, f *fleet.Fleet) error {
		d, err := outage(ctx, f, *away, *events, *entities)
		if err != nil {
			return err
		}
		share := float64(d.asked) / (float64(*rate) * d.took.Seconds())
		passes := math.Ceil(float64(*rate) * d.took.Seconds() / float64(d.waiting))
		held := share >= shareWanted && float64(d.most) <= passes && d.dead == 0
		return tell(out, held, *check,
			"outage: events=%d entities=%d resumed_after_ms=%d drained_in_ms=%d rate_used=%.3f (≥ %.2f) passes=%.0f most_fetches_of_one=%d (≤ passes) fetches_per_entity=%.2f dead=%d (0)",
			d.events, d.waiting, d.resumed.Milliseconds(), d.took.Milliseconds(), share, shareWanted, passes, d.most,
			float64(d.fetched)/float64(d.waiting), d.dead)
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
	// asked are all requests of that time; fetched those for the entities that
	// waited, most those for the one that was asked for most often.
	asked, fetched, most int64
	dead                 int64
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
	before, err := claims(ctx, f)
	if err != nil {
		return d, err
	}
	back := time.Now()
	if err := f.Simulator.Chaos(ctx, near); err != nil {
		return d, err
	}
	if err := d.watch(ctx, f, back); err != nil {
		return d, err
	}
	if err := d.count(ctx, f, before, back); err != nil {
		return d, err
	}
	if err := f.Drain(ctx, 5*time.Minute); err != nil {
		return d, err
	}
	d.dead, err = f.Letters(ctx, storage.LetterOpen)
	return d, err
}

// watch looks on while the backlog drains.
func (d *drained) watch(ctx context.Context, f *fleet.Fleet, back time.Time) error {
	before, err := answered(ctx, f)
	if err != nil {
		return err
	}
	var first time.Time
	var left fleet.Left
	return fleet.WaitFor(ctx, 10*time.Minute, func() string { return "left: " + left.String() }, func() (_ bool, err error) {
		now, err := answered(ctx, f)
		if err != nil {
			return false, err
		}
		if first.IsZero() {
			if now > before+1 { // one is the probe
				first, before = time.Now(), now // there may have been a gush already
				d.resumed = first.Sub(back)
			}
			return false, nil
		}
		if left, err = f.Left(ctx); err != nil || left.Live+left.Parked > 0 || left.Open {
			return false, err
		}
		d.took, d.asked = time.Since(first), now-before
		return true, nil
	})
}

// answered counts the API's good answers.
func answered(ctx context.Context, f *fleet.Fleet) (n int64, err error) {
	c, err := f.Simulator.Counters(ctx)
	for _, by := range c.Requests {
		n += by["200"]
	}
	return n, err
}

// count counts what waited, and the syncs of it: each raises the claim by one.
func (d *drained) count(ctx context.Context, f *fleet.Fleet, before map[event.Key]int64, back time.Time) error {
	rows, err := f.Rows(ctx)
	if err != nil {
		return err
	}
	after, err := claims(ctx, f)
	if err != nil {
		return err
	}
	seen := map[event.Key]bool{}
	for _, r := range rows {
		for _, o := range r.Entities {
			if k := o.Ref.Key; r.ProcessedAt.After(back) && !seen[k] {
				seen[k] = true
				d.fetched += after[k] - before[k]
				d.most = max(d.most, after[k]-before[k])
			}
		}
	}
	if d.waiting = len(seen); d.waiting == 0 {
		return errors.New("nothing waited for the provider")
	}
	return nil
}

// claims are the claims of all there is at the provider, of what was never
// answered too.
func claims(ctx context.Context, f *fleet.Fleet) (map[event.Key]int64, error) {
	truth, err := f.Simulator.Truth(ctx)
	if err != nil {
		return nil, err
	}
	all := map[event.Key]int64{}
	for _, t := range truth {
		k := event.Key{Source: fleet.Source, Kind: t.Kind, ID: t.ID}
		doc, err := f.Store.Entity(ctx, k)
		switch {
		case err == nil:
			all[k] = doc.Claim
		case !errors.Is(err, storage.ErrNotFound):
			return nil, fmt.Errorf("read the mirror: %w", err)
		}
	}
	return all, nil
}
