package entity

import (
	"errors"

	"github.com/tarn-sync/tarn/shared/event"
)

// eachPage settles or buries everything that was parked when the claim was taken.
// Each page leaves Redis once it is dealt with.
func (y *sync) eachPage() {
	y.handled = 0
	y.deal(y.batch)
}

func (y *sync) deal(page []event.Entry) {
	y.page = page
	if y.burying {
		y.do(y.letters(page), (*sync).pageBuried)
		return
	}
	e := y.settle(page)
	e.Waited, e.Alerted = true, y.state.Refused > 0
	y.waits = true
	y.s.emit(e)
}

func (y *sync) pageSettled(refused bool) {
	if refused {
		y.afterParked(errRefused) // to wait for longer would keep the slot from others
		return
	}
	y.pageBuried(Result{})
}

func (y *sync) pageBuried(r Result) {
	if r.Err != nil {
		y.afterParked(r.Err)
		return
	}
	y.do(Unpark{Sync: y.number, Key: y.ref.Key, Batch: y.page}, (*sync).unparked)
}

func (y *sync) unparked(r Result) {
	y.handled += len(y.page)
	switch {
	case r.Err != nil, r.Left == 0, y.handled >= y.parked.Len:
		y.afterParked(r.Err)
	default:
		y.do(Page{Sync: y.number, Key: y.ref.Key, Most: min(PageSize, y.parked.Len-y.handled)}, (*sync).nextPage)
	}
}

func (y *sync) nextPage(r Result) {
	y.parked.Len -= r.Gone
	if r.Err != nil || len(r.Entries) == 0 {
		y.afterParked(r.Err)
		return
	}
	y.deal(r.Entries)
}

// afterParked lets the lane of a parked entity go on as an ordinary one, with what
// has come for it since it was un-parked. If something failed on the way the retry
// is made again, uncharged, with what is still parked: after a refusal of the store
// by way of Redis, so that it takes no other retry's lane.
func (y *sync) afterParked(err error) {
	switch {
	case errors.Is(err, errRefused):
		y.cause = err
		y.state.Refused++
		pause := y.s.spread(refusals, y.state.Refused, 0)
		y.park(false, pause, pause)
	case err != nil:
		y.again(err)
	default:
		y.finish(nil)
		y.lane.goOn(0)
	}
}

// buryExhausted buries what has no attempts left, which is the head of the list,
// and parks the rest.
func (y *sync) buryExhausted() {
	spent := 0
	for spent < len(y.batch) && y.batch[spent].Attempts+1 >= y.s.cfg.Retry.Attempts {
		spent++
	}
	if spent == 0 {
		y.parkCharged()
		return
	}
	y.page = y.batch[:spent]
	y.do(y.letters(y.page), (*sync).exhaustedBuried)
}

func (y *sync) exhaustedBuried(r Result) {
	if r.Err != nil {
		y.afterParked(r.Err)
		return
	}
	y.do(Unpark{Sync: y.number, Key: y.ref.Key, Batch: y.page}, (*sync).exhaustedUnparked)
}

// exhaustedUnparked: what is left besides came meanwhile, or names parents that
// were not asked, so this attempt was not for it.
func (y *sync) exhaustedUnparked(r Result) {
	y.parked.Len -= len(y.page)
	y.batch = y.batch[len(y.page):]
	switch {
	case r.Err != nil, r.Left == 0, y.parked.Len <= 0:
		y.afterParked(r.Err)
	case len(y.batch) > 0:
		y.parkCharged()
	default:
		y.do(Page{Sync: y.number, Key: y.ref.Key, Most: min(PageSize, y.parked.Len)}, (*sync).exhaustedPage)
	}
}

func (y *sync) exhaustedPage(r Result) {
	y.parked.Len -= r.Gone
	if r.Err != nil || len(r.Entries) == 0 {
		y.afterParked(r.Err)
		return
	}
	y.batch = r.Entries
	y.buryExhausted()
}
