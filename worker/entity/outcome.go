package entity

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// covered settles the batch. The lane goes on at once: the settlements of one
// entity keep their order. What is parked is settled page by page.
func (y settling) covered(Result) {
	if y.lane.retry {
		draining(y).eachPage()
		return
	}
	y.lane.unsettled++
	y.s.emit(y.settle(y.batch))
	y.free()
	y.lane.goOn(len(y.batch))
}

// settle is the effect that settles entries by the sync's verdict. A discrepancy
// is repaired unless the answer was not taken: the mirror is then not what the
// provider says, and the next sweep finds it again.
func (y settling) settle(entries []event.Entry) Settle {
	return Settle{
		Sync: y.number, Key: y.ref.Key, Batch: entries, Outcomes: y.outcomes(entries),
		Repaired: discrepancies(entries), Taken: !y.v.kept, First: &entries[0] == &y.batch[0], Again: y.parked.Failed,
	}
}

// outcomes says of each event among the entries how the fetch covered it. It is
// called for all that is covered in turn.
func (y settling) outcomes(entries []event.Entry) []storage.Settlement {
	if y.settledTo.IsZero() {
		y.settledTo = y.lastEventAt()
	}
	covered := y.by(entries)
	out := make([]storage.Settlement, 0, len(entries))
	for i := range entries {
		s := &entries[i].Signal
		if s.Cause != event.CauseEvent {
			continue
		}
		o := storage.Settlement{
			Source: y.ref.Key.Source, EventID: s.CauseID, Entity: y.ref.Key,
			Signal: storage.SignalID{Shard: y.s.cfg.Shard, ID: entries[i].ID}, CoveredBy: covered, At: y.s.now.UTC(), Lagging: y.v.lagging,
			ParentsDiffer: y.parentsDiffer(s.Ref.Parents), Erased: y.doc.Erased != nil,
		}
		if o.Erased {
			out = append(out, o)
			continue
		}
		undated := s.CreatedAt.IsZero()
		if !undated && s.CreatedAt.Before(y.settledTo) {
			o.OutOfOrder = true
		} else {
			if !undated {
				y.settledTo = s.CreatedAt
			}
			want, ok := y.expects(s.EventType)
			o.Overtaken = ok && y.snap != nil && y.snap.Status != want && y.snap.Had(want)
		}
		out = append(out, o)
	}
	return out
}

// by is the fetch that covers entries.
func (y settling) by(entries []event.Entry) storage.Covered {
	covered := storage.Covered{Claim: y.doc.Claim, FetchedAt: y.fetchedAt(), Signal: entries[len(entries)-1].ID, StateHash: y.stateHash(y.v.kept)}
	if y.doc.Erased != nil {
		covered.FetchedAt, covered.StateHash = time.Time{}, ""
	}
	return covered
}
