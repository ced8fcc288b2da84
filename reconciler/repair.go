package reconciler

import (
	"context"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// remedies is the work that a page calls for.
type remedies struct {
	// found are the differences.
	found []difference
	// fetch are entities that a worker should fetch without a difference on record.
	fetch []event.Ref
}

// remedy records the differences and then signals the workers, as far as the mode
// allows. The order matters: a worker notes how a repair ended on the discrepancy,
// which must be on record by then. If the process dies between the two, the next
// sweep finds the difference again, under the same id.
func (s *survey) remedy(ctx context.Context, r remedies) error {
	r, err := s.withoutErased(ctx, r)
	if err != nil {
		return err
	}
	filled := func(d difference) bool { return d.typ != storage.SharedID && s.fills(d.ref) }
	for _, d := range r.found {
		if filled(d) {
			r.fetch = append(r.fetch, d.ref)
		}
	}
	r.found = slices.DeleteFunc(r.found, filled)
	if s.mode == modeReport {
		s.counts["found"] += int64(len(r.found))
		for _, d := range r.found {
			s.reported[d.ref.Key] = true
			s.report(d)
		}
		return nil
	}
	if r.found, err = s.withLost(ctx, r.found); err != nil {
		return err
	}
	s.counts["found"] += int64(len(r.found))
	if err := s.record(ctx, r.found); err != nil {
		return err
	}
	if s.mode == modeVerify {
		return nil
	}
	drafts := make([]stream.Draft, 0, len(r.found)+len(r.fetch))
	for _, d := range r.found {
		if d.typ != storage.SharedID { // no fetch repairs that
			drafts = append(drafts, s.signal(d.ref, event.CauseDiscrepancy, d.id()))
		}
	}
	for _, ref := range r.fetch {
		drafts = append(drafts, s.signal(ref, event.CauseSweep, s.id))
	}
	if len(drafts) == 0 {
		return nil
	}
	if err := s.room(ctx); err != nil {
		return err
	}
	s.counts["signals"] += int64(len(drafts))
	return s.append(ctx, drafts)
}

// withLost notes, for entities that the mirror lacks, the highest claim under which
// the log says that they were written. The database has lost these, and fetches up to
// that claim explain nothing. The document is read once more after the log, so
// entities that a worker wrote in between are left out.
func (s *survey) withLost(ctx context.Context, found []difference) ([]difference, error) {
	kept := found[:0]
	for _, d := range found {
		if d.typ == storage.Missing {
			lost, err := s.highestClaim(ctx, d.ref.Key)
			if err != nil {
				return nil, err
			}
			if lost > 0 {
				docs, err := s.documents(ctx, []event.Key{d.ref.Key})
				if err != nil {
					return nil, err
				}
				if doc := docs[d.ref.Key]; doc != nil && doc.Known() {
					continue
				}
			}
			d.lost = lost
		}
		kept = append(kept, d)
	}
	return kept, nil
}

// highestClaim is the highest claim that covered the last events of an entity. 0:
// none was covered.
func (s *survey) highestClaim(ctx context.Context, key event.Key) (highest int64, err error) {
	rows, err := s.finder.events(ctx, storage.EventFilter{Source: s.name, Entity: key, Limit: explaining})
	for _, row := range rows {
		for _, o := range row.Entities {
			if o.Ref.Key == key && o.CoveredBy != nil {
				highest = max(highest, o.CoveredBy.Claim)
			}
		}
	}
	return highest, err
}

func (s *survey) signal(ref event.Ref, cause event.Cause, id string) stream.Draft {
	return stream.Draft{Signal: event.Signal{Ref: ref, Cause: cause, CauseID: id, Class: s.class()}}
}

func (s *survey) record(ctx context.Context, found []difference) error {
	if len(found) == 0 {
		return nil
	}
	list := make([]storage.Discrepancy, len(found))
	for i, d := range found {
		var err error
		if list[i], err = d.record(s.def, s.id); err != nil {
			return err
		}
	}
	return s.persist(ctx, "record discrepancies", func() error { return s.store.Record(ctx, list) })
}

// room waits until few enough background signals are queued for workers. A survey of
// an empty mirror finds work much faster than workers can do it, and waiting here
// costs nothing.
func (f *finder) room(ctx context.Context) error {
	for {
		n, err := f.backlog(ctx)
		if err == nil && n <= ahead {
			return nil
		}
		f.loop.Waiting("workers")
		if !loops.Sleep(ctx, f.pace.poll) {
			return ctx.Err()
		}
	}
}

// backlog is how many background signals of the source wait.
func (f *finder) backlog(ctx context.Context) (int64, error) {
	n, _, err := f.background(ctx)
	return n, err
}

// background is how many background signals of the source wait, and how old the
// oldest is.
func (f *finder) background(ctx context.Context) (n int64, age time.Duration, err error) {
	shards, err := f.streams.InStreams(ctx, f.name)
	for _, waiting := range shards {
		n, age = n+waiting.Background, max(age, waiting.OldestBackground)
	}
	return n, age, err
}
