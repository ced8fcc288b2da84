package entity

import (
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

const (
	// LaggingVerify is when a read that never caught up with its event is looked
	// at once more, for kinds whose definition does not say.
	LaggingVerify = time.Minute
	// repeatVerify is when an entity is looked at again whose history may be from
	// before its event.
	repeatVerify = 5 * time.Second
	// ClocksApart is how far the clocks of a fleet may differ.
	ClocksApart = 5 * time.Minute
)

// verdict is what a fetched state says about the batch it covers.
type verdict struct {
	// kept: the answer lacks history the mirror holds and is not written. doubted is
	// when that was seen, by Redis' clock.
	kept    bool
	doubted time.Time
	// rewritten: it has lacked it for so long that it is the truth.
	rewritten bool
	// lagging: the answer never showed what an event says has happened.
	lagging bool
	// verify > 0: look once more after it.
	verify time.Duration
	// last is the newest event of the batch, if newer than the stored one.
	last storage.LastEvent
}

// judge compares the fetched state with the mirror's and with what the events say
// has happened. A read that lags is repeated a few times.
func (y judging) judge() {
	y.v = verdict{last: y.newest()}
	if y.snap.Deleted {
		y.judged()
		return
	}
	prev := y.mirrored()
	older, late := y.snap.Lacks(prev), y.missesAnEvent()
	switch {
	case (older || late) && y.lane.lag < len(y.s.cfg.LagPauses):
		y.unlocked(y.lags)
		return
	case older:
		y.do(Time{Sync: y.number}, y.doubt)
		return
	case late:
		y.v.lagging, y.v.verify = true, LaggingVerify
		if y.kind.VerifyAfter > 0 {
			y.v.verify = y.kind.VerifyAfter
		}
	case y.kind.VerifyAfter > 0:
		if y.maybeEarly() {
			y.v.verify = y.kind.VerifyAfter
		}
	case y.maybeBefore(prev):
		y.v.verify = repeatVerify
	}
	y.judged()
}

// lags repeats the fetch after a pause, uncharged.
func (y judging) lags(Result) {
	pause := y.s.cfg.LagPauses[y.lane.lag]
	y.lane.lag++
	y.s.emit(Lag{Key: y.ref.Key})
	y.hold(pause, nil)
}

// doubt decides about an answer without history the mirror holds: it is not taken,
// unless the provider has repeated it for long enough. The doubt may be another
// worker's, and either's clock may have been set since, so it goes by Redis'.
func (y judging) doubt(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	if since := y.doc.DoubtedAt; !since.IsZero() && r.Now.Sub(since) >= y.s.cfg.Rewritten {
		y.v.rewritten = true
	} else {
		y.v.kept, y.v.doubted, y.v.lagging, y.v.verify = true, r.Now, true, y.s.cfg.Rewritten
	}
	y.judged()
}

// judged: the verdict says that the answer is to be written, or kept out.
func (y judging) judged() {
	if !y.emptied() {
		writing(y).believed(Result{Yes: true})
		return
	}
	y.do(Consult{Sync: y.number, Key: y.ref.Key, Question: fate.Believable, Class: event.HighestClass(y.batch), Emptied: true, Foreseen: y.summary.foreseen}, writing(y).believed)
}
