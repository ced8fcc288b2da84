package reconcile

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	limitUsed   = 0.95
	limitGrowth = 20 << 20
)

// Backfill measures how much of the rate a backfill uses, and its memory.
func Backfill(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("backfill", flag.ContinueOnError)
	entities := flags.Int("entities", 100_000, "accounts and orders of the world")
	accounts := flags.Int("accounts", 1000, "accounts among them")
	rate := flags.Int("rate", 1000, "requests a second the provider allows: no more than the machine can make, or that is what is measured")
	within := flags.Duration("within", 8*time.Minute, "give up after this long")
	check, err := parse(flags, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	p := fleet.Plan{APIs: 1, Workers: 2, Rate: *rate, Concurrency: 128}
	return measure(ctx, out, p, func(ctx context.Context, s *subject) error {
		if err := s.world(ctx, *entities, *accounts); err != nil {
			return err
		}
		if err := s.Simulator.Chaos(ctx, simulator.Chaos{RateLimit: float64(*rate)}); err != nil {
			return err
		}
		f, err := s.backfill(ctx, *entities)
		if err != nil {
			return err
		}
		have, err := s.documents(ctx)
		if err != nil {
			return err
		}
		used := float64(f.asked) / (float64(*rate) * f.took.Seconds())
		held, failed := verdict(used >= limitUsed && f.tooMany == 0 && f.late-f.early <= limitGrowth && have >= *entities, *check)
		fmt.Fprintf(out, "backfill: entities=%d documents=%d seconds=%.1f requests=%d of %d/s used=%.1f%% (limit %.0f%%) status_429=%d rss_mb_at_10%%=%.1f at_end=%.1f most=%.1f (limit +%d): %s\n",
			*entities, have, f.took.Seconds(), f.asked, *rate, 100*used, 100*limitUsed, f.tooMany, mb(f.early), mb(f.late), mb(f.most), limitGrowth>>20, held)
		return failed
	})
}

func mb(n int64) float64 { return float64(n) / (1 << 20) }

// world makes entities without events.
func (s *subject) world(ctx context.Context, entities, accounts int) error {
	return s.Simulator.Load(ctx, simulator.Load{
		Entities: entities, Accounts: accounts, Events: entities, Rate: 50_000, Silent: true,
	}, 3*time.Minute)
}

// fill has the measurements of a backfill.
type fill struct {
	took           time.Duration // from the first answer to the last
	asked, tooMany int64
	// early and late are the memory of the command at a tenth of the entities
	// and at the end, most the most it had.
	early, late, most int64
}

// backfill runs `reconciler backfill` and looks at it four times a second.
func (s *subject) backfill(ctx context.Context, entities int) (*fill, error) {
	before, err := s.requests(ctx)
	if err != nil {
		return nil, err
	}
	cmd, err := s.Command(ctx, fleet.Reconciler, "backfill", "--source", fleet.Source)
	if err != nil {
		return nil, err
	}
	var said tail
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the backfill: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var f fill
	var first, last time.Time
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case err := <-ended:
			if err != nil {
				return nil, fmt.Errorf("backfill: %w\n%s", err, said.String())
			}
			over = true
		case <-tick.C:
		}
		now, err := s.requests(ctx)
		if err != nil {
			return nil, err
		}
		asked := now.total() - before.total()
		if first.IsZero() && asked > 0 {
			first = time.Now()
			f.asked, before = 0, now // the first look begins in the middle of a rush
			continue
		}
		if asked > f.asked {
			f.asked, last = asked, time.Now()
		}
		f.tooMany = now.tooMany
		if !over {
			f.look(cmd, asked, entities)
		}
	}
	f.took = last.Sub(first)
	return &f, nil
}

// look notes the memory.
func (f *fill) look(cmd *exec.Cmd, asked int64, entities int) {
	n, err := fleet.Resident(cmd.Process.Pid)
	if err != nil {
		return // it has just ended
	}
	if f.early == 0 && asked >= int64(entities)/10 {
		f.early = n
	}
	f.late, f.most = n, max(f.most, n)
}

// documents counts what the mirror has.
func (s *subject) documents(ctx context.Context) (n int, err error) {
	for _, kind := range []string{"account", "order"} {
		for filter := (storage.EntityFilter{Source: fleet.Source, Kind: kind, Limit: 200}); ; {
			page, err := s.Store.Entities(ctx, filter)
			if err != nil {
				return 0, fmt.Errorf("count the mirror: %w", err)
			}
			n += len(page.Items)
			if filter.Cursor = page.NextCursor; filter.Cursor == "" {
				break
			}
		}
	}
	return n, nil
}

// tail keeps the last of what a program says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - 4000; over > 0 {
		t.text = bytes.Clone(t.text[over:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
