package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/deployments/fleet"
	"github.com/tarn-sync/tarn/deployments/simulator"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
)

// injected has the differences that were made.
type injected struct {
	// lost are the events that never came.
	lost map[string]bool
	// drifted is what changed and went without an event, and moved what stands
	// under another account since, without one.
	drifted simulator.Drifted
	moved   []string
	// differed are the entities whose mirror was not the truth, by kind/id.
	differed map[string]bool
}

func (i *injected) count() int {
	return len(i.lost) + len(i.drifted.Changed) + len(i.drifted.Deleted) + len(i.moved)
}

// fill has a backfill read what there is before anything happens: instruments,
// which no event ever names.
func (r *run) fill(ctx context.Context) error {
	r.say("fill: what was there before any event")
	cmd, err := r.Command(ctx, fleet.Reconciler, "backfill", "--source", fleet.Source)
	if err != nil {
		return err
	}
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("backfill: %w\n%s", err, said)
	}
	return nil
}

// whole makes one half of the world, all of whose events arrive: what changes
// there in silence, no missed event names.
func (r *run) whole(ctx context.Context) error {
	n := r.entities / 2
	r.say("whole: %d entities whose events all come", n)
	if err := r.Simulator.Chaos(ctx, r.odd.Chaos(simulator.Chaos{})); err != nil {
		return err
	}
	return r.Simulator.Load(ctx, r.odd.Load(simulator.Load{Entities: n, Events: 2 * n, Rate: float64(n) / 2}), time.Minute)
}

// lossy makes the other half, of whose events not all arrive.
func (r *run) lossy(ctx context.Context) error {
	r.say("lossy: 30 %% of webhooks are lost")
	if err := r.Simulator.Chaos(ctx, r.odd.Chaos(simulator.Chaos{
		Lose: 0.3, Duplicate: 0.05, Reorder: 0.2, MaxDelay: simulator.Duration(300 * time.Millisecond),
	})); err != nil {
		return err
	}
	if err := r.live(ctx, r.life); err != nil {
		return err
	}
	if err := r.Simulator.StartLoad(ctx, simulator.Load{Entities: r.entities - r.entities/2, Events: r.events, Rate: float64(r.events) / span.Seconds()}); err != nil {
		return err
	}
	if err := r.away(ctx); err != nil {
		return err
	}
	if err := r.sent(ctx); err != nil {
		return err
	}
	return r.calm(ctx)
}

// away kills the api in the middle of the load and starts it again once the
// sender has given some events up.
func (r *run) away(ctx context.Context) error {
	api := r.Members(fleet.API)[0]
	err := fleet.WaitFor(ctx, r.patience(time.Minute), func() string { return "the load does not get on" }, func() (bool, error) {
		p, err := r.Simulator.Progress(ctx)
		return p.Made >= p.Events*6/10, err
	})
	if err != nil {
		return err
	}
	r.say("lossy: the api is killed, and away for %s", away)
	api.Kill()
	if err := r.rest(ctx, away); err != nil {
		return err
	}
	if err := api.Start(); err != nil {
		return err
	}
	return api.WaitReady(ctx, r.patience(time.Minute))
}

func (r *run) rest(ctx context.Context, d time.Duration) error {
	if !loops.Sleep(ctx, d) {
		return context.Cause(ctx)
	}
	return nil
}

// live sets the pace of the living world.
func (r *run) live(ctx context.Context, rate float64) error {
	return r.Simulator.Tell(ctx, http.MethodPut, "/_sim/rate", map[string]float64{"rate": rate}, nil)
}

// sent ends the living world and waits until nothing is left to send.
func (r *run) sent(ctx context.Context) error {
	err := fleet.WaitFor(ctx, r.patience(time.Minute), func() string { return "the load is not made" }, func() (bool, error) {
		p, err := r.Simulator.Progress(ctx)
		return p.Done, err
	})
	if err != nil {
		return err
	}
	if err := r.live(ctx, 0); err != nil {
		return err
	}
	return fleet.WaitFor(ctx, r.patience(30*time.Second), func() string { return "webhooks are still to be sent" }, func() (bool, error) {
		events, err := r.Simulator.Events(ctx)
		for _, e := range events {
			if !e.Settled {
				return false, err
			}
		}
		return true, err
	})
}

// calm waits until workers have done all that came live. What they hold back,
// as second looks at derived kinds, may wait longer.
func (r *run) calm(ctx context.Context) error {
	var left fleet.Left
	return fleet.WaitFor(ctx, r.patience(time.Minute), func() string { return "left: " + left.String() }, func() (_ bool, err error) {
		if left, err = r.Left(ctx); err != nil {
			return false, err
		}
		return left.Live+left.Parked == 0 && !left.Open, r.Died()
	})
}

// silent changes and deletes entities without events, and notes all that the
// mirror does not know by now.
func (r *run) silent(ctx context.Context) error {
	// What differs is asked of the API too.
	if err := r.Simulator.Chaos(ctx, simulator.Chaos{}); err != nil {
		return err
	}
	if still := r.part().still; still > 0 {
		r.say("silent: nothing happens for %s, in which second looks come", still)
		if err := r.rest(ctx, still); err != nil {
			return err
		}
	}
	begun := time.Now()
	deleted, err := r.remove(ctx, 0.01)
	if err != nil {
		return err
	}
	if r.odd.Has("moved") && r.part().moved != "" {
		if r.injected.moved, err = r.moveSome(ctx, 0.01); err != nil {
			return err
		}
	}
	if err := r.Simulator.Tell(ctx, http.MethodPost, "/_sim/drift", simulator.Drift{Change: max(0.05, 3/float64(r.entities))}, &r.injected.drifted); err != nil {
		return err
	}
	r.injected.drifted.Deleted = deleted
	events, err := r.Simulator.Events(ctx)
	if err != nil {
		return err
	}
	logged, err := r.logged(ctx)
	if err != nil {
		return err
	}
	r.injected.lost = map[string]bool{}
	for _, e := range events {
		// One that the api took and was killed before it said so has come.
		if !logged[e.ID] {
			r.injected.lost[e.ID] = true
			if e.Accepted > 0 {
				return fmt.Errorf("event %s was accepted and is not in the log", e.ID)
			}
		}
	}
	bad, err := r.differences(ctx)
	if err != nil {
		return err
	}
	r.injected.differed = map[string]bool{}
	for _, d := range bad {
		r.injected.differed[d.Kind+"/"+d.ID] = true
	}
	r.say("silent: %d entities changed, %d deleted, %d moved; %d of %d events never came; %d entities differ",
		len(r.injected.drifted.Changed), len(r.injected.drifted.Deleted), len(r.injected.moved), len(r.injected.lost), len(events), len(bad))
	for _, name := range slices.Concat(r.injected.drifted.Changed, deleted, r.injected.moved) {
		if r.injected.differed[name] {
			continue
		}
		again, err := r.syncedSince(ctx, name, begun)
		if err != nil {
			return err
		}
		if !again {
			return fmt.Errorf("%s was changed or deleted and does not differ: the comparison is blind", name)
		}
	}
	return nil
}

// syncedSince reports whether a worker has fetched an entity, "order/bord_…", since a
// time: a second look that was held back may come just after a silent change.
func (r *run) syncedSince(ctx context.Context, name string, since time.Time) (bool, error) {
	kind, id, _ := strings.Cut(name, "/")
	docs, err := r.Store.Documents(ctx, []event.Key{{Source: fleet.Source, Kind: kind, ID: id}})
	if err != nil || len(docs) == 0 {
		return false, err
	}
	return docs[0].SyncedAt.After(since), nil
}

// remove takes a share of the orders (of Stripe, products) away that the mirror has, at
// least one. One
// that it has not is left: there a worker gives the provider ten minutes to make up its
// mind, and nothing would have to be repaired in the end.
func (r *run) remove(ctx context.Context, share float64) ([]string, error) {
	return r.some(ctx, r.part().removed, share, func(doc *storage.Document) (bool, error) {
		return true, r.Simulator.Tell(ctx, http.MethodDelete, "/_sim/entities/"+doc.Key.Kind+"/"+doc.Key.ID, nil, nil)
	})
}

// moveSome moves a share of the orders that the mirror has to other accounts, at
// least one.
func (r *run) moveSome(ctx context.Context, share float64) ([]string, error) {
	truth, err := r.Simulator.Truth(ctx)
	if err != nil {
		return nil, err
	}
	var accounts []string
	for _, t := range truth {
		if t.Kind == "account" && !t.Deleted {
			accounts = append(accounts, t.ID)
		}
	}
	slices.Sort(accounts)
	return r.some(ctx, r.part().moved, share, func(doc *storage.Document) (bool, error) {
		t, to := truth["order/"+doc.Key.ID], accounts[r.rng.IntN(len(accounts))]
		if t.Deleted || t.Account == to {
			return false, nil
		}
		return true, r.Simulator.Tell(ctx, http.MethodPost, "/_sim/entities/order/"+doc.Key.ID+"/move", map[string]string{"parent": to}, nil)
	})
}

// some does something to a share of the entities of a kind that the mirror shows, and
// at least to one, and returns the names of those it was done to.
func (r *run) some(ctx context.Context, kind string, share float64, do func(*storage.Document) (bool, error)) (names []string, err error) {
	for filter := (storage.EntityFilter{Source: fleet.Source, Kind: kind, Limit: 200}); ; {
		page, err := r.Store.Entities(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("read the mirror: %w", err)
		}
		docs := slices.DeleteFunc(page.Items, func(doc *storage.Document) bool { return !doc.DeletedAt.IsZero() })
		for i, doc := range docs {
			last := page.NextCursor == "" && i >= len(docs)-10
			if r.rng.Float64() >= share && !(last && len(names) == 0) {
				continue
			}
			done, err := do(doc)
			if err != nil {
				return nil, err
			}
			if done {
				names = append(names, kind+"/"+doc.Key.ID)
			}
		}
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			return names, nil
		}
	}
}

// logged are the ids of the events in the log.
func (r *run) logged(ctx context.Context) (map[string]bool, error) {
	rows, err := r.Rows(ctx)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]bool, len(rows))
	for _, row := range rows {
		ids[row.ID] = true
	}
	return ids, nil
}
