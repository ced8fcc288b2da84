package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// laggingVerify is when a read that never caught up with its event is looked
// at once more, for kinds whose definition does not say.
const laggingVerify = time.Minute

// repeatVerify is when an entity is looked at again whose history may be from before
// its event.
const repeatVerify = 5 * time.Second

// verdict is what a fetched state says about the batch it covers.
type verdict struct {
	// again > 0: the read lags behind what is known; fetch again after it.
	again time.Duration
	// kept: the answer lacks history the mirror holds and is not taken. doubted
	// is when that was seen.
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

// judge compares the fetched state with the mirror's and with what the events
// say has happened.
func (a *attempt) judge(ctx context.Context) (*verdict, error) {
	var prev *provider.Snapshot
	if a.doc.Raw != nil {
		var err error
		if prev, err = a.src.Definition.Read(a.ln.key.Kind, a.doc.Raw); err != nil {
			// A hand was in the database. What it broke proves nothing, and giving
			// the entity up would keep it broken: the answer replaces it.
			a.s.log.Error("the mirror's own state of an entity could not be read; it is replaced", "entity", a.ln.key.String(), "error", err)
			prev = nil
		}
	}
	v := &verdict{last: a.newest()}
	if a.snap.Deleted {
		return v, nil
	}
	kind := a.kind
	older := a.snap.Lacks(prev)
	late := a.missesAnEvent()
	switch {
	case (older || late) && a.ln.lag < len(a.s.w.LagPauses):
		v.again = a.s.w.LagPauses[a.ln.lag]
	case older:
		return v, a.doubt(ctx, v)
	case late:
		v.lagging, v.verify = true, laggingVerify
		if kind.VerifyAfter > 0 {
			v.verify = kind.VerifyAfter
		}
	case kind.VerifyAfter > 0:
		if a.maybeEarly(kind) {
			v.verify = kind.VerifyAfter
		}
	case a.maybeBefore(prev):
		v.verify = repeatVerify
	}
	return v, nil
}

// missesAnEvent reports whether an event of the batch says that the entity has
// had a status its history does not show.
func (a *attempt) missesAnEvent() bool {
	for _, t := range a.summary.types {
		if want, ok := a.src.Definition.Expects(t.name, a.ln.key.Kind); ok && !a.snap.Had(want) {
			return true
		}
	}
	return false
}

// maybeBefore reports whether the answer, fetched within the kind's lag of an event,
// may be from before it though its history has the status that the event tells: the
// entity has been in it several times, or has another one now. An entity that went
// through several statuses at once looks the same; it is fetched once more in vain. One
// that enters for the second time the status it is in is not seen.
func (a *attempt) maybeBefore(prev *provider.Snapshot) bool {
	if a.summary.newest.ID == "" {
		return a.secondLookIsEarly(repeatVerify)
	}
	if prev == nil {
		return false
	}
	for _, t := range a.summary.types {
		status, ok := a.src.Definition.Expects(t.name, a.kind.Name)
		if ok && a.snap.SentAt.Sub(t.newest) < a.kind.ReadLag && (a.snap.Status != status || a.snap.Entries(status) > 1) {
			return true
		}
	}
	return false
}

// doubt decides about an answer without history the mirror holds: it is not
// taken, unless the provider has stood by it for long enough. Who doubted first
// may have been another worker, and either's clock may have been set since.
func (a *attempt) doubt(ctx context.Context, v *verdict) error {
	now, err := a.s.w.Streams.Now(ctx)
	if err != nil {
		return fromRedis(err)
	}
	if since := a.doc.DoubtedAt; !since.IsZero() && now.Sub(since) >= a.s.w.Rewritten {
		v.rewritten = true
		return nil
	}
	v.kept, v.doubted, v.lagging, v.verify = true, now, true, a.s.w.Rewritten
	return nil
}

// maybeEarly reports whether the fetch began within the kind's lag of something
// that has happened: a read so soon may not show it yet, and without a history
// nobody can tell. A second look is too early itself if an event came shortly
// before it, which found it asked for already; the refresh of a derived kind if
// one came that found the refresh asked for, which nobody knows.
func (a *attempt) maybeEarly(kind *provider.Kind) bool {
	b, sent := &a.summary, a.snap.SentAt
	switch {
	case b.derived:
		return true
	case b.newest.ID != "" && sent.Sub(b.newest.CreatedAt) < kind.ReadLag:
		return true
	}
	return a.secondLookIsEarly(kind.VerifyAfter)
}

// secondLookIsEarly reports whether this is a second look, asked for so long before
// it, and an event came shortly before it, which found it asked for already.
func (a *attempt) secondLookIsEarly(before time.Duration) bool {
	if a.summary.second.IsZero() {
		return false
	}
	last, asked := a.lastEventAt(), a.summary.second.Add(-before)
	since := a.snap.SentAt.Sub(last)
	// Not if the provider's clock is ahead: that would never end.
	return last.After(asked) && since >= 0 && since < a.kind.ReadLag
}

// newest returns the newest event of those covered if it is newer than the one
// the document remembers.
func (a *attempt) newest() (last mirror.LastEvent) {
	if at := a.lastEventAt(); at.IsZero() || a.summary.newest.CreatedAt.After(at) {
		return a.summary.newest
	}
	return last
}

// clocksApart is how far the clocks of a fleet may differ.
const clocksApart = 5 * time.Minute

// lastEventAt is when the newest event was created that the document remembers.
// Zero if it is one of the future: event.OrderTime lets none in, but a document
// may have it from an earlier release, or from a host whose clock was wrong.
func (a *attempt) lastEventAt() time.Time {
	if a.lastEventIsAhead() {
		return time.Time{}
	}
	return a.doc.LastEvent.CreatedAt
}

// lastEventIsAhead reports whether the document remembers an event of the future.
func (a *attempt) lastEventIsAhead() bool {
	return a.doc.LastEvent.CreatedAt.After(a.s.w.Now().Add(clocksApart))
}

// settlements says of each event among the entries how the fetch covered it.
// It is called for all that is covered in turn.
func (a *attempt) settlements(v *verdict, entries []stream.Entry) []mirror.Settlement {
	m := a.s.w.Metrics
	if a.settledTo.IsZero() {
		a.settledTo = a.lastEventAt()
	}
	now := a.s.w.Now().UTC()
	covered := mirror.Covered{Claim: a.doc.Claim, FetchedAt: a.fetchedAt(), Signal: entries[len(entries)-1].ID, StateHash: a.mirrored(v)}
	out := make([]mirror.Settlement, 0, len(entries))
	for _, e := range entries {
		s := e.Signal
		if s.Cause != event.CauseEvent {
			continue
		}
		done := mirror.Settlement{
			Source: a.src.Name, EventID: s.CauseID, Entity: a.ln.key,
			Signal: mirror.SignalID{Shard: a.s.number, ID: e.ID}, CoveredBy: covered, At: now, Lagging: v.lagging,
			ParentsDiffer: a.parentsDiffer(s.Ref.Parents),
		}
		undated := s.CreatedAt.IsZero()
		if !undated && s.CreatedAt.Before(a.settledTo) {
			done.OutOfOrder = true
			m.OutOfOrder.WithLabelValues(a.src.Name).Inc()
		} else {
			if !undated {
				a.settledTo = s.CreatedAt
			}
			want, ok := a.src.Definition.Expects(s.EventType, a.ln.key.Kind)
			done.Overtaken = ok && a.snap != nil && a.snap.Status != want && a.snap.Had(want)
			if done.Overtaken {
				m.Overtaken.WithLabelValues(a.src.Name).Inc()
			}
		}
		if s.Body != nil {
			m.ObserveEventToMirror(a.src.Name, now.Sub(s.Body.ReceivedAt), s.Trace)
		}
		out = append(out, done)
	}
	m.Settled.WithLabelValues(a.src.Name).Add(float64(len(out)))
	if len(out) > 1 {
		m.Coalesced.WithLabelValues(a.src.Name).Add(float64(len(out) - 1))
	}
	return out
}

// mirrored is the hash of the state the mirror has after the verdict.
func (a *attempt) mirrored(v *verdict) string {
	switch {
	case v.kept && a.doc.DeletedAt.IsZero():
		return a.doc.StateHash
	case v.kept, a.snap == nil, a.snap.Deleted: // no answer was taken: the provider has no such entity
		return mirror.StateGone
	}
	return a.snap.Hash
}

// fetchedAt is when the covering request was sent.
func (a *attempt) fetchedAt() time.Time {
	if a.snap != nil && !a.snap.SentAt.IsZero() {
		return a.snap.SentAt.UTC()
	}
	return a.sent
}

// traceCovered gives every event among the entries but the very first, whose
// trace the sync is in, a span of its own that links to the fetch that covered
// it. Not after a failed attempt: those spans are roots, with links of their own.
func (a *attempt) traceCovered(entries []stream.Entry) {
	if tried(a.parked) {
		return
	}
	for i := range entries {
		e := &entries[i]
		if e == &a.batch[0] {
			continue
		}
		if telemetry.SpanContext(e.Signal.Trace).IsSampled() {
			a.trace.covered(*e, a.s, a.ln)
		}
	}
}
