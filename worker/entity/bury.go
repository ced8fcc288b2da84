package entity

import (
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// bury gives up the batch. The lane goes on with entries that came since.
func (y burying) bury() {
	y.class, _ = fate.Of(y.cause)
	y.state.Add(waiting.Attempt{N: y.parked.Attempt + 1, At: y.s.now.UTC(), Error: lastText(y.class, y.cause)})
	if y.lane.retry {
		y.buries = true
		draining(y).eachPage()
		return
	}
	y.do(y.letters(y.batch), y.buried)
}

func (y burying) buried(r Result) {
	if r.Err != nil {
		y.again(r.Err)
		return
	}
	y.s.emit(Ack{Sync: y.number, Source: y.ref.Key.Source, Batch: y.batch, Owed: y.owed})
	y.free()
	y.lane.goOn(len(y.batch))
}

// letters returns the dead letters of the events among the entries, including the
// attempt that has just failed.
func (y burying) letters(entries []event.Entry) Bury {
	b := Bury{Sync: y.number, Key: y.ref.Key, Batch: entries, Class: y.class, Failed: discrepancies(entries)}
	if n := len(y.state.Attempts); n > 0 {
		b.Error = y.state.Attempts[n-1].Error
	}
	for _, e := range entries {
		if e.Signal.Cause != event.CauseEvent {
			continue
		}
		ref := e.Signal.Ref // its own parents, which another dead letter's are not
		if len(ref.Parents) == 0 {
			ref = y.ref
		}
		l := storage.Letter{
			Source: y.ref.Key.Source, EventID: e.Signal.CauseID, Ref: ref,
			Signal: storage.SignalID{Shard: y.s.cfg.Shard, ID: e.ID}, Class: y.class.String(),
			Attempts: since(y.parked.Attempt-e.Attempts, y.state.Attempts), At: y.s.now.UTC(),
		}
		if y.doc != nil {
			l.Claim = y.doc.Claim
		}
		b.Letters = append(b.Letters, l)
	}
	return b
}

// buryExhausted buries what has no attempts left, which is the head of the list,
// and parks the rest.
func (y burying) buryExhausted() {
	spent := 0
	for spent < len(y.batch) && y.batch[spent].Attempts+1 >= y.s.cfg.Retry.Attempts {
		spent++
	}
	if spent == 0 {
		failing(y).parkCharged()
		return
	}
	y.page = y.batch[:spent]
	y.do(y.letters(y.page), y.exhaustedBuried)
}

func (y burying) exhaustedBuried(r Result) {
	if r.Err != nil {
		draining(y).afterParked(r.Err)
		return
	}
	y.do(Unpark{Sync: y.number, Key: y.ref.Key, Batch: y.page, Owed: y.owed}, y.exhaustedUnparked)
}

// exhaustedUnparked: entries that are left came meanwhile, or name parents that were
// not asked, so this attempt was not for them.
func (y burying) exhaustedUnparked(r Result) {
	y.parked.Len -= len(y.page)
	y.batch = y.batch[len(y.page):]
	y.hinted(r)
	switch {
	case r.Err != nil, r.Left == 0, y.parked.Len <= 0:
		draining(y).afterParked(r.Err)
	case len(y.batch) > 0:
		failing(y).parkCharged()
	default:
		y.do(Page{Sync: y.number, Key: y.ref.Key, Most: min(y.s.cfg.Page, y.parked.Len)}, y.exhaustedPage)
	}
}

func (y burying) exhaustedPage(r Result) {
	y.parked.Len -= r.Gone
	if r.Err != nil || len(r.Entries) == 0 {
		draining(y).afterParked(r.Err)
		return
	}
	y.batch = r.Entries
	y.buryExhausted()
}
