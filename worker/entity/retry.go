package entity

import (
	"errors"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/waiting"
)

// eachPage settles or buries everything that was parked when the claim was taken.
// Each page leaves Redis once it is dealt with.
func (y draining) eachPage() {
	y.handled = 0
	y.deal(y.batch)
}

func (y draining) deal(page []event.Entry) {
	y.page = page
	if y.buries {
		y.do(burying(y).letters(page), y.pageBuried)
		return
	}
	e := settling(y).settle(page)
	e.Waited, e.Alerted = true, y.state.Refused > 0
	y.waits = true
	y.s.emit(e)
}

func (y draining) pageSettled(refused bool) {
	if refused {
		y.afterParked(errRefused) // to wait for longer would keep the slot from others
		return
	}
	y.pageBuried(Result{})
}

func (y draining) pageBuried(r Result) {
	if r.Err != nil {
		y.afterParked(r.Err)
		return
	}
	y.do(Unpark{Sync: y.number, Key: y.ref.Key, Batch: y.page, Owed: y.owed}, y.unparked)
}

// passed: hints were parked, and are gone. What is left is due at once.
func (y draining) passed(r Result) {
	y.hinted(r)
	y.afterParked(r.Err)
}

func (y draining) unparked(r Result) {
	y.handled += len(y.page)
	y.hinted(r)
	switch {
	case r.Err != nil, r.Left == 0, y.handled >= y.parked.Len:
		y.afterParked(r.Err)
	default:
		y.do(Page{Sync: y.number, Key: y.ref.Key, Most: min(y.s.cfg.Page, y.parked.Len-y.handled)}, y.nextPage)
	}
}

// hinted: what the change feed may lack was left with the page that is un-parked.
func (y *sync) hinted(r Result) {
	if r.Err == nil {
		y.owed = 0
	}
}

func (y draining) nextPage(r Result) {
	y.parked.Len -= r.Gone
	if r.Err != nil || len(r.Entries) == 0 {
		y.afterParked(r.Err)
		return
	}
	y.deal(r.Entries)
}

// afterParked lets the lane of a parked entity go on as an ordinary one, with what
// has come for it since it was un-parked. If something failed on the way the retry
// is made again, uncharged, with what is still parked. After a refusal of the store it
// waits in Redis, so that it takes no other retry's lane.
func (y draining) afterParked(err error) {
	switch {
	case errors.Is(err, errRefused):
		y.cause = err
		y.state.Refused++
		pause := y.s.spread(Refusals, y.state.Refused, 0)
		parking(y).park(plan{reason: waiting.Unsettled, delay: pause, earliest: pause})
	case err != nil:
		y.again(err)
	default:
		y.finish(nil)
		y.lane.goOn(0)
	}
}
