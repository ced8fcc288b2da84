package reconcile

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage/sqlite/sqlitetest"
)

// limitCalls is how many requests a sweep in sync may make for each page there
// is.
const limitCalls = 1.02

// Sweep measures what a sweep costs that finds nothing.
func Sweep(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("sweep", flag.ContinueOnError)
	entities := flags.Int("entities", 10_000, "accounts and orders of the world")
	accounts := flags.Int("accounts", 100, "accounts among them")
	rate := flags.Int("rate", 2000, "requests a second the provider allows")
	within := flags.Duration("within", 6*time.Minute, "give up after this long")
	check, err := parse(flags, args)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	p := fleet.Plan{
		APIs: 1, Workers: 1, Reconcilers: 1, Rate: *rate,
		Reconcile: fmt.Sprintf("{gaps: {every: 24h}, sweep: {every: %s}}", never),
	}
	return measure(ctx, out, p, func(ctx context.Context, s *subject) error {
		if err := s.world(ctx, *entities, *accounts); err != nil {
			return err
		}
		if err := s.filled(ctx, *within); err != nil {
			return err
		}
		pages, err := s.pages(ctx)
		if err != nil {
			return err
		}
		path := strings.TrimPrefix(s.Database.URL(), "sqlite://")
		if err := sqlitetest.Watch(ctx, path); err != nil {
			return err
		}
		before, err := s.requests(ctx)
		if err != nil {
			return err
		}
		id, err := s.startSweep(ctx)
		if err != nil {
			return err
		}
		task, err := s.finished(ctx, id, *within)
		if err != nil {
			return err
		}
		after, err := s.requests(ctx)
		if err != nil {
			return err
		}
		verified, other, err := sqlitetest.Writes(ctx, path)
		if err != nil {
			return err
		}
		lists, single := after.lists-before.lists, after.single-before.single
		calls := after.total() - before.total()
		held, failed := verdict(float64(calls) <= limitCalls*float64(pages) && other == 0 && verified >= int64(*entities) && task.Counts["found"] == 0, *check)
		fmt.Fprintf(out, "sweep: entities=%d pages=%d api_calls=%d (lists %d, by id %d; limit %.0f) verified=%d other_writes=%d found=%d seconds=%.1f: %s\n",
			*entities, pages, calls, lists, single, limitCalls*float64(pages), verified, other, task.Counts["found"],
			task.FinishedAt.Sub(task.StartedAt).Seconds(), held)
		return failed
	})
}

// pages counts, from the simulator's truth, the pages of all lists a complete
// walk has: an empty list has one.
func (s *subject) pages(ctx context.Context) (pages int64, err error) {
	lemon, err := provider.Builtin("lemon")
	if err != nil {
		return 0, err
	}
	truth, err := s.Simulator.Truth(ctx)
	if err != nil {
		return 0, err
	}
	type list struct{ kind, parent string }
	sizes, ids := map[list]int{}, map[string][]string{}
	for _, t := range truth {
		if !t.Deleted {
			sizes[list{t.Kind, t.Parent}]++
			ids[t.Kind] = append(ids[t.Kind], t.ID)
		}
	}
	const size = 100
	count := func(kind, parent string) { pages += int64(max(1, (sizes[list{kind, parent}]+size-1)/size)) }
	for _, root := range lemon.Roots() {
		if root.Shape != provider.ShapeEntity || !root.Listable() {
			continue
		}
		count(root.Name, "")
		for _, under := range lemon.Under(root) {
			if under.Shape != provider.ShapeEntity || !under.Listable() {
				continue
			}
			for _, id := range ids[root.Name] {
				count(under.Name, id)
			}
		}
	}
	return pages, nil
}
