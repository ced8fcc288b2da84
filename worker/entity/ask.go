package entity

import (
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

func (y asking) claimed(r Result) {
	if r.Err != nil {
		y.failed(r.Err)
		return
	}
	y.doc, y.sent = r.Document, y.s.now.UTC()
	if y.doc.Owes() {
		y.owed = y.doc.Version
	}
	if y.doc.Erased != nil { // nothing is asked, and nothing written
		writing(y).cover()
		return
	}
	y.sets = y.parentSets()
	y.ask()
}

// ask asks for the entity under the next parent set.
func (y asking) ask() {
	y.ref.Parents = y.sets[y.at]
	y.do(Fetch{Sync: y.number, Ref: y.ref, Why: y.why(), Class: event.HighestClass(y.batch), Further: y.at > 0}, y.asked)
}

// why is the justification given to providers that want one.
func (y asking) why() string {
	first := y.batch[0].Signal
	if first.Cause == event.CauseEvent {
		return "webhook-" + first.CauseID
	}
	return string(first.Cause) + "-" + first.CauseID
}

// asked goes on to the next parent set only if this one does not have the entity: it
// is gone there, or refused although the provider accepts our credentials. If the
// provider refuses those, none of the answers counts.
func (y asking) asked(r Result) {
	class, _ := fate.Of(r.Err)
	switch {
	case r.Err == nil && !r.Snapshot.Deleted:
		y.snap = r.Snapshot
		y.report(nil)
	case r.Err == nil: // a stub says itself that the entity is gone
		y.stub = r.Snapshot
		y.askNext()
	case class == fate.Gone:
		y.gone = r.Err
		y.askNext()
	case class == fate.Refused && len(y.sets) > 1:
		y.refused = r.Err
		y.do(Consult{Sync: y.number, Key: y.ref.Key, Question: fate.Refusing, Err: r.Err}, y.refusedThere)
	default:
		y.mixed = y.at > 0
		y.report(r.Err)
	}
}

func (y asking) refusedThere(r Result) {
	if r.Yes {
		y.report(fate.ErrPaused)
		return
	}
	y.askNext()
}

// askNext goes on with the next parent set. After the last the result is Gone if all
// sets say so, Refused if all refuse, and undecided otherwise.
func (y asking) askNext() {
	if y.at++; y.at < len(y.sets) {
		y.ask()
		return
	}
	y.ref.Parents = y.sets[0]
	switch {
	case y.refused != nil:
		y.mixed = y.gone != nil || y.stub != nil
		y.report(y.refused)
	case y.gone != nil:
		y.report(y.gone)
	default:
		y.snap = y.stub
		y.report(nil)
	}
}

// report passes the provider's final answer to the source.
func (y asking) report(err error) {
	y.cause = err
	y.do(Report{
		Sync: y.number, Ref: y.ref, Document: y.doc, Snapshot: y.snap, Err: err, Class: event.HighestClass(y.batch),
		Foreseen: y.summary.foreseen, Emptied: err == nil && y.emptied(),
	}, y.answered)
}

// answered: the provider has answered in full, and the source knows.
func (y asking) answered(Result) {
	if y.cause == nil {
		judging(y).judge()
		return
	}
	y.failed(y.cause) // it says what was fetched
}
