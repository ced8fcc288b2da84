package reconciler

import (
	"context"
	"errors"
	"slices"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// appendMissing appends, in the order they were listed, the events that have
// been missing for long enough.
func (g *gaps) appendMissing(ctx context.Context) error {
	due := func(o *openEvent) bool { return o.event != nil && g.patient(o) }
	if !slices.ContainsFunc(g.open, due) {
		return nil
	}
	if err := g.recheck(ctx); err != nil {
		return err
	}
	old, err := g.oldShards(ctx)
	if err != nil {
		return err
	}
	var missing []*event.Event
	for _, o := range g.open {
		if !due(o) {
			continue
		}
		if !old[o.event.Home().Shard(g.streams.Shards())] {
			missing = append(missing, o.event)
		}
		o.event = nil // the next reading lists what is still missing then
	}
	return g.repair(ctx, missing)
}

// oldShards returns the shards whose oldest entry is older than Redis remembers ids: an
// event whose id Redis does not know may still be queued there.
func (g *gaps) oldShards(ctx context.Context) (map[int]bool, error) {
	for {
		shards, err := g.streams.InStreams(ctx, g.name)
		if err == nil {
			old := map[int]bool{}
			for n, shard := range shards {
				old[n] = shard.Oldest >= g.marks-g.marks/10
			}
			return old, nil
		}
		g.loop.Waiting("redis")
		if !loops.Sleep(ctx, g.pace.backoff) {
			return nil, ctx.Err()
		}
	}
}

// unrecorded is how many missed events are appended before they are recorded. If the
// process dies in between, at most so many are repaired and not reported.
const unrecorded = 50

// repair appends events and records those that Redis and the log did not have.
func (g *gaps) repair(ctx context.Context, missing []*event.Event) error {
	for few := range slices.Chunk(missing, unrecorded) {
		if err := g.repairFew(ctx, few); err != nil {
			return err
		}
	}
	return nil
}

func (g *gaps) repairFew(ctx context.Context, missing []*event.Event) error {
	var found, processed []*event.Event
	for len(missing) > 0 {
		drafts := make([]stream.Draft, len(missing))
		for i, e := range missing {
			drafts[i] = draftOf(e)
		}
		receipts, err := g.streams.AppendAll(ctx, drafts)
		for i, r := range receipts {
			switch e := missing[i]; {
			case !r.Duplicate:
				found = append(found, e)
			case r.Processed:
				processed = append(processed, e)
			}
		}
		missing = missing[len(receipts):]
		if err == nil {
			break
		}
		g.log.Warn("could not append missed events; trying again", "source", g.name, "error", err)
		g.loop.Waiting("redis")
		if !loops.Sleep(ctx, g.pace.backoff) {
			return ctx.Err()
		}
	}
	forgotten, err := g.restore(ctx, processed)
	if err != nil {
		return err
	}
	return g.record(ctx, append(found, forgotten...))
}

// draftOf is the event's own entry, as its webhook would have made it.
func draftOf(e *event.Event) stream.Draft {
	s := event.Own(e, "")
	s.Class = event.Redrive
	return stream.Draft{Signal: s}
}

// restore appends events that Redis knows as processed and that have no row in the log:
// the database was restored from an older copy.
func (g *gaps) restore(ctx context.Context, events []*event.Event) (lost []*event.Event, err error) {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	known, err := g.known(ctx, ids)
	if err != nil {
		return nil, err
	}
	homes := map[string]event.Key{}
	var drafts []stream.Draft
	for _, e := range events {
		if known[e.ID] {
			continue // a worker has just logged it
		}
		homes[e.ID] = e.Home()
		lost, drafts = append(lost, e), append(drafts, draftOf(e))
	}
	if len(lost) == 0 {
		return nil, nil
	}
	if err := g.streams.ForgetEvents(ctx, homes); err != nil {
		return nil, err
	}
	return lost, g.append(ctx, drafts)
}

// record records missed events. They were appended first: if the process dies between
// the two, they are repaired and not reported, which is better than the reverse.
func (g *gaps) record(ctx context.Context, missed []*event.Event) error {
	missed, err := g.sinceTheLogBegan(ctx, missed)
	if err != nil || len(missed) == 0 {
		return err
	}
	g.counts["found"] += int64(len(missed))
	list := make([]storage.Discrepancy, len(missed))
	for i, e := range missed {
		list[i] = storage.Discrepancy{
			ID:     discrepancyID(g.name, string(storage.EventMissed), e.ID),
			Source: g.name, Entity: event.Key{Source: g.name}, Type: storage.EventMissed, Status: storage.Suspected,
			EventID: e.ID, SweepID: g.task, FoundAt: e.ReceivedAt,
		}
		if len(e.Entities) > 0 {
			list[i].Entity = e.Entities[0].Key
		}
	}
	return g.persist(ctx, "record missed events", func() error { return g.store.Record(ctx, list) })
}

// sinceTheLogBegan leaves out events from before the source's first row in the log. The
// first search reaches back to them: they are fetched, and were not missed. So are all that
// the first search in a scope finds, which may be from before the platform knew it.
func (g *gaps) sinceTheLogBegan(ctx context.Context, missed []*event.Event) ([]*event.Event, error) {
	if g.task != gapsID(g.name) || !g.state.Complete.IsZero() {
		return missed, nil
	}
	if g.scope != "" {
		g.counts["first"] += int64(len(missed))
		return nil, nil
	}
	byTime := slices.SortedFunc(slices.Values(missed), func(a, b *event.Event) int { return a.CreatedAt.Compare(b.CreatedAt) })
	var failed error
	first, _ := slices.BinarySearchFunc(byTime, true, func(e *event.Event, _ bool) int {
		var before storage.Page[*storage.EventRow]
		err := g.persist(ctx, "look when the log began", func() (err error) {
			before, err = g.store.Events(ctx, storage.EventFilter{Source: g.name, To: e.CreatedAt, Limit: 1})
			return err
		})
		if failed = errors.Join(failed, err); len(before.Items) == 0 {
			return -1
		}
		return 0
	})
	g.counts["first"] += int64(first)
	return byTime[first:], failed
}
