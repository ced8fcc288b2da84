package entity

import (
	"time"

	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
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
	// kept: the answer lacks history the mirror holds and is not taken. doubted is
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
	last mirror.LastEvent
}

// judge compares the fetched state with the mirror's and with what the events say
// has happened. A read that lags is repeated a few times.
func (y *sync) judge() {
	y.v = verdict{last: y.newest()}
	if y.snap.Deleted {
		y.judged()
		return
	}
	prev := y.mirrored()
	older, late := y.snap.Lacks(prev), y.missesAnEvent()
	switch {
	case (older || late) && y.lane.lag < len(y.s.cfg.LagPauses):
		y.unlocked((*sync).lags)
		return
	case older:
		y.do(Time{Sync: y.number}, (*sync).doubt)
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

// lags has the entity fetched once more after a while, uncharged.
func (y *sync) lags(Result) {
	pause := y.s.cfg.LagPauses[y.lane.lag]
	y.lane.lag++
	y.s.emit(Lag{Key: y.ref.Key})
	y.hold(pause, nil)
}

// mirrored reads the mirror's own state of the entity. Nil: there is none, or it
// was edited so that it cannot be read. Then it proves nothing, and the answer
// replaces it.
func (y *sync) mirrored() *provider.Snapshot {
	if y.doc.Raw == nil {
		return nil
	}
	prev, err := y.s.cfg.Definition(y.ref.Key.Source).Read(y.ref.Key.Kind, y.doc.Raw)
	if err != nil {
		y.s.cfg.Logger.Error("the mirror's own state of an entity could not be read; it is replaced", "shard", y.s.cfg.Shard, "entity", y.ref.Key.String(), "error", err)
		return nil
	}
	return prev
}

// doubt decides about an answer without history the mirror holds: it is not taken,
// unless the provider has stood by it for long enough. The doubt may be another
// worker's, and either's clock may have been set since, so it goes by Redis'.
func (y *sync) doubt(r Result) {
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

// missesAnEvent reports whether an event of the batch says that the entity has had
// a status its history does not show.
func (y *sync) missesAnEvent() bool {
	for _, t := range y.summary.types {
		if want, ok := y.expects(t.name); ok && !y.snap.Had(want) {
			return true
		}
	}
	return false
}

// expects returns the status that an event of a type says the entity has had.
func (y *sync) expects(eventType string) (status string, ok bool) {
	return y.s.cfg.Definition(y.ref.Key.Source).Expects(eventType, y.ref.Key.Kind)
}

// maybeBefore reports whether the answer, fetched within the kind's lag of an
// event, may be from before it though its history has the status that the event
// tells: the entity has been in it several times, or has another one now. An entity
// that went through several statuses at once looks the same; it is fetched once
// more in vain. One that enters for the second time the status it is in is not seen.
func (y *sync) maybeBefore(prev *provider.Snapshot) bool {
	if y.summary.newest.ID == "" {
		return y.secondLookIsEarly(repeatVerify)
	}
	if prev == nil {
		return false
	}
	for _, t := range y.summary.types {
		status, ok := y.expects(t.name)
		if ok && y.snap.SentAt.Sub(t.newest) < y.kind.ReadLag && (y.snap.Status != status || y.snap.Entries(status) > 1) {
			return true
		}
	}
	return false
}

// maybeEarly reports whether the fetch began within the kind's lag of something
// that has happened: a read so soon may not show it yet, and without a history
// there is no telling. A second look is too early itself if an event came shortly
// before it, which found it asked for already. The refresh of a derived kind always
// may be.
func (y *sync) maybeEarly() bool {
	b := &y.summary
	return b.derived ||
		b.newest.ID != "" && y.snap.SentAt.Sub(b.newest.CreatedAt) < y.kind.ReadLag ||
		y.secondLookIsEarly(y.kind.VerifyAfter)
}

// secondLookIsEarly reports whether this is a second look, asked for so long before
// it, and an event came shortly before it, which found it asked for already.
func (y *sync) secondLookIsEarly(before time.Duration) bool {
	if y.summary.second.IsZero() {
		return false
	}
	last, asked := y.lastEventAt(), y.summary.second.Add(-before)
	since := y.snap.SentAt.Sub(last)
	// Not if the provider's clock is ahead: that would never end.
	return last.After(asked) && since >= 0 && since < y.kind.ReadLag
}

// newest returns the newest event of those covered if it is newer than the one the
// document remembers.
func (y *sync) newest() (last mirror.LastEvent) {
	if at := y.lastEventAt(); at.IsZero() || y.summary.newest.CreatedAt.After(at) {
		return y.summary.newest
	}
	return last
}

// lastEventAt is when the newest event was created that the document remembers.
// Zero if it is one of the future: event.OrderTime lets none in, but a document
// may have it from an earlier release, or from a host whose clock was wrong.
func (y *sync) lastEventAt() time.Time {
	if y.lastEventIsAhead() {
		return time.Time{}
	}
	return y.doc.LastEvent.CreatedAt
}

func (y *sync) lastEventIsAhead() bool {
	return y.doc.LastEvent.CreatedAt.After(y.s.now.Add(ClocksApart))
}
