package commands

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
)

// What a provider's rate leaves to commands.
const (
	busyWithin = time.Second // from the answer, while live events could use more than the rate
	leastShare = 0.95        // of the rate, for bulk commands that have it to themselves
	mostGrowth = 20 << 20    // of the worker's memory with all bulk commands waiting, in bytes
)

// busyRate and bulkRate are what the provider allows, in requests a second.
const (
	busyRate = 100
	bulkRate = 200
)

// pressed runs f with a fleet of its own at a provider that allows so many requests a
// second.
func (b *bench) pressed(ctx context.Context, programs *fleet.Programs, rate int, f func(context.Context) error) (err error) {
	p := plan
	p.Rate = rate
	if b.Fleet, err = fleet.Start(ctx, programs, p); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	b.app = b.NewApplication()
	// A budget saves up a fifth of a second.
	if err := b.Simulator.Chaos(ctx, simulator.Chaos{RateLimit: 1.2 * float64(rate)}); err != nil {
		return err
	}
	if err := b.create(ctx); err != nil {
		return err
	}
	return f(ctx)
}

// busy times commands while events ask for one and a half times the rate.
func (b *bench) busy(ctx context.Context) error {
	const seconds = 25
	load := simulator.Load{Entities: 2000, Events: 1.5 * busyRate * seconds, Rate: 1.5 * busyRate}
	if err := b.Simulator.StartLoad(ctx, load); err != nil {
		return err
	}
	err := fleet.WaitFor(ctx, time.Minute, func() string { return "no backlog came up" }, func() (bool, error) {
		left, err := b.Left(ctx)
		return left.Live > 2*busyRate, err
	})
	if err != nil {
		return err
	}
	for i := range b.busied {
		if _, err := b.ask(ctx, fmt.Sprintf("busy-%d", i), "update", i); err != nil {
			return err
		}
		if err := fleet.Pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	left, err := b.Left(ctx)
	if err != nil {
		return err
	}
	var effects []time.Duration
	err = fleet.WaitFor(ctx, time.Minute, func() string { return "a command has no effect" }, func() (bool, error) {
		effects, err = b.effects(ctx, "busy-")
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	b.tell(at(effects, 0.99) <= busyWithin && left.Live > 0, "commands: busy commands=%d p50=%s p99=%s (≤ %s) left=%d (> 0)",
		len(effects), ms(effects, 0.5), ms(effects, 0.99), busyWithin, left.Live)
	return nil
}

// inBulk performs bulk commands that have the rate to themselves. What memory the worker has
// at the most is compared with what it has while a thousand are performed before them.
func (b *bench) inBulk(ctx context.Context) error {
	worked, err := b.most(ctx, func() error {
		if err := b.askAll(ctx, "warm", 1000, true); err != nil {
			return err
		}
		return b.over(ctx)
	})
	if err != nil {
		return err
	}
	answered, refused, err := b.answers(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	var promised, took time.Duration
	most, err := b.most(ctx, func() error {
		if err := b.askAll(ctx, "bulk", b.bulk, true); err != nil {
			return err
		}
		promised = time.Since(began)
		err := b.over(ctx)
		took = time.Since(began)
		return err
	})
	if err != nil {
		return err
	}
	now, refusedNow, err := b.answers(ctx)
	if err != nil {
		return err
	}
	share := float64(now-answered) / (bulkRate * took.Seconds())
	b.tell(share >= leastShare && refusedNow == refused && most-worked <= mostGrowth,
		"commands: bulk commands=%d promised_in=%s done_in=%s rate_used=%.3f (≥ %.2f) refused=%d (0) memory_mb=%.1f with_a_thousand_mb=%.1f grew_mb=%.1f (≤ %d)",
		b.bulk, promised.Round(time.Second), took.Round(time.Second), share, leastShare, refusedNow-refused,
		float64(most)/(1<<20), float64(worked)/(1<<20), float64(max(0, most-worked))/(1<<20), mostGrowth>>20)
	return nil
}

// most is the most memory that the worker has while do runs, in bytes.
func (b *bench) most(ctx context.Context, do func() error) (most int64, err error) {
	worker := b.Members(fleet.Worker)[0].PID()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var watch sync.WaitGroup
	watch.Go(func() {
		for fleet.Pause(ctx, 200*time.Millisecond) == nil {
			if now, err := fleet.Resident(worker); err == nil {
				most = max(most, now)
			}
		}
	})
	err = do()
	cancel()
	watch.Wait()
	return most, err
}

// answers counts the requests that the provider has answered, and those that it refused for
// the rate.
func (b *bench) answers(ctx context.Context) (answered, refused int64, err error) {
	c, err := b.Simulator.Counters(ctx)
	for _, by := range c.Requests {
		answered += by["200"]
		refused += by["429"]
	}
	return answered, refused, err
}
