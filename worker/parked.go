package worker

import (
	"context"
	"fmt"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/shared/waiting"
	"github.com/tarn-sync/tarn/worker/entity"
)

// parkedList is what waits in Redis for the parked entities of a shard.
type parkedList struct{ *shard }

// load reads what waits for a parked entity: the first page of it, the summary of
// all, and how much there is. Entries that name more parents than one sync asks are
// left for the next.
func (s parkedList) load(ctx context.Context, e entity.Load) (r entity.Result) {
	p, page, _, err := s.page(ctx, nil, e.Key, 0, entity.PageSize)
	taken, more := r.Batch.Add(e.Kind, page), page
	r.Entries = page[:taken]
	for seen := len(more); err == nil && taken == seen && seen < p.Len && len(more) > 0; seen += len(more) {
		var gone int
		_, more, gone, err = s.page(ctx, nil, e.Key, seen, min(entity.PageSize, p.Len-seen))
		p.Len -= gone
		taken += r.Batch.Add(e.Kind, more)
	}
	if err != nil {
		return entity.Result{Err: fromRedis(fmt.Errorf("read what is parked for %s: %w", e.Key, err))}
	}
	r.Parked = entity.Parked{Len: min(p.Len, taken), Attempt: p.Attempt, Failed: !p.Spilled}
	if r.Parked.State, err = waiting.Decode(p.State); err != nil {
		// Attempts are lost from the record, nothing else.
		s.log.Warn("the state of a parked entity cannot be read; starting over", "entity", e.Key.String(), "error", err)
	}
	return r
}

// page returns what Lease.Parked does, after what could not be read of it has
// been put on record and removed: gone entries of those that were there.
func (s parkedList) page(ctx context.Context, loop *telemetry.Loop, k event.Key, from, n int) (p stream.Parked, entries []event.Entry, gone int, err error) {
	for {
		p, entries, err = s.lease.Parked(ctx, k, from, n)
		_, bad := readable(entries)
		if err != nil || len(bad) == 0 {
			return p, entries, gone, err
		}
		if err = s.noteParked(ctx, loop, k.Source, k.String(), bad); err != nil {
			return p, nil, gone, err
		}
		if err = s.lease.Discard(ctx, k, bad); err != nil {
			return p, nil, gone, err
		}
		gone += len(bad)
	}
}

// unpark removes entries from the head of the parked list, however long Redis is
// away. What has come since is due at once.
func (s parkedList) unpark(ctx context.Context, e entity.Unpark) (left int, err error) {
	var events []string
	for _, entry := range e.Batch {
		if entry.Signal.Cause == event.CauseEvent {
			events = append(events, entry.Signal.CauseID)
		}
	}
	hints := hintsOf(s.w, e.Key, e.Owed)
	err = s.insist(ctx, nil, "remove what is settled of a parked entity", func() (err error) {
		fault.Point("before-unpark")
		left, err = s.lease.Unpark(ctx, e.Key, idsOf(e.Batch), events, 0, hints...)
		return err
	})
	if err == nil && len(hints) > 0 {
		s.w.bells.ring(e.Key.Source, s.number)
	}
	return left, err
}

// park parks an entity, however long Redis is away. An error means that the shard is
// not ours any more. The caller holds the gate, so nothing of the entity is read,
// tried or moved between two pages.
func (s parkedList) park(loop *telemetry.Loop, p stream.Park) error {
	return s.insist(s.ctx, loop, "park an entity", func() error { return s.lease.Park(s.ctx, p) })
}
