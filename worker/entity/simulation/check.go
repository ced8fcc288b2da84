package simulation

import (
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Violation is a broken invariant.
type Violation struct {
	// Invariant is its name: see the package comment.
	Invariant string
	Text      string
}

// String returns both.
func (v *Violation) String() string { return v.Invariant + ": " + v.Text }

// fail notes the first violation.
func (w *world) fail(invariant, format string, args ...any) {
	if w.broken == nil {
		w.broken = &Violation{invariant, fmt.Sprintf(format, args...)}
		w.say("BROKEN %s", w.broken)
	}
}

// leaves checks that what leaves Redis is not needed any more.
func (w *world) leaves(e stored) {
	k := e.signal.Ref.Key
	if e.signal.Cause == event.CauseEvent {
		r := w.store.rows[e.signal.CauseID]
		if (r == nil || !r.outcomes[k].status.Final()) && !w.redis.stands(e) {
			w.fail("early", "entry %s of event %s leaves redis, whose work on %v is open", e.id, e.signal.CauseID, k)
		}
		return
	}
	d := w.store.doc(k)
	if d.written == 0 || d.claimedAt(d.written) < e.at {
		since := func(claim int64) bool { return d.claimedAt(claim) >= e.at }
		if !slices.ContainsFunc(d.failed, since) && !slices.ContainsFunc(d.marked, since) {
			w.fail("early", "entry %s leaves redis, and %v was not fetched since", e.id, k)
		}
	}
}

// covers checks order and coverage as an event is settled.
func (w *world) covers(d *document, s *storage.Settlement) {
	claim := s.CoveredBy.Claim
	w.say("store: event %s of %v (%s) is covered by claim %d", s.EventID, s.Entity, s.Signal.ID, claim)
	switch {
	case s.Erased && !d.sawMarker(claim):
		w.fail("coverage", "event %s of %v is settled as erased by claim %d, which showed no marker", s.EventID, s.Entity, claim)
		return
	case !s.Erased && (claim < 1 || claim > d.written):
		w.fail("coverage", "event %s of %v is covered by claim %d, which was not written", s.EventID, s.Entity, claim)
		return
	}
	if at := appendedAt(s.Signal.ID); d.claimedAt(claim) < at {
		w.fail("coverage", "event %s of %v came at %v and is covered by claim %d of %v", s.EventID, s.Entity, at, claim, d.claimedAt(claim))
	}
	i, _ := slices.BinarySearchFunc(d.covered, s.Signal.ID, func(c covering, id string) int { return compareIDs(c.id, id) })
	if i > 0 && d.covered[i-1].claim > claim || i < len(d.covered) && d.covered[i].claim < claim {
		w.fail("order", "event %s of %v, entry %s, is covered by claim %d, out of order: %v", s.EventID, s.Entity, s.Signal.ID, claim, d.covered[max(0, i-1):min(len(d.covered), i+1)])
	}
	d.covered = slices.Insert(d.covered, i, covering{s.Signal.ID, claim})
}

// replaces checks that the mirror does not go backwards.
func (w *world) replaces(d *document, x *storage.Write, sent time.Duration) {
	if x.Kept {
		return
	}
	if sent < d.fetched {
		w.fail("backwards", "%v: an answer to a request of %v replaces one of %v", d.Key, sent, d.fetched)
	}
	if !x.NewState() || d.Raw == nil || w.provider.of(d.Key).kind.Name != "widget" && w.plan.Stale > 0 {
		return
	}
	if was, is := w.provider.version(d.Raw), w.provider.version(x.Raw); is < was {
		w.fail("backwards", "%v: version %d replaces version %d", d.Key, is, was)
	}
}

// charges checks that a counted attempt is one that the provider has failed, for
// an entry that was there when it began.
func (w *world) charges(d *document, f *storage.Failure) {
	if !slices.Contains(d.failed, f.Claim) {
		w.fail("charged", "event %s of %v is charged for claim %d, which the provider has not failed", f.EventID, f.Entity, f.Claim)
		return
	}
	if at := appendedAt(f.Signal.ID); d.claimedAt(f.Claim) < at {
		w.fail("charged", "event %s of %v came at %v and is charged for claim %d of %v", f.EventID, f.Entity, at, f.Claim, d.claimedAt(f.Claim))
	}
}

// buries checks that a dead letter has been through all its attempts, each a
// failure of the provider after it came, unless one was final.
func (w *world) buries(d *document, l *storage.Letter) {
	w.say("store: event %s of %v is dead: %s, %d attempts", l.EventID, l.Ref.Key, l.Class, len(l.Attempts))
	if l.Class == fate.Permanent.String() || l.Class == fate.Refused.String() && len(l.Attempts) < w.plan.Attempts {
		if len(d.failed) == 0 {
			w.fail("charged", "event %s of %v is dead, and the provider has failed nothing", l.EventID, d.Key)
		}
		return
	}
	at, failed := appendedAt(l.Signal.ID), 0
	for _, claim := range d.failed {
		if d.claimedAt(claim) >= at {
			failed++
		}
	}
	if len(l.Attempts) < w.plan.Attempts || failed < len(l.Attempts) {
		w.fail("charged", "event %s of %v is dead by %d attempts of %d, of which the provider failed %d", l.EventID, d.Key, len(l.Attempts), w.plan.Attempts, failed)
	}
}

// judge checks what must hold once all is calm.
func (w *world) judge() {
	for _, e := range w.provider.accepted {
		r := w.store.rows[e.ID]
		if r == nil {
			w.fail("lost", "event %s was accepted and is not in the log", e.ID)
			return
		}
		for _, ref := range e.Entities {
			if o := r.outcomes[ref.Key]; !o.status.Final() {
				w.fail("unsettled", "event %s of %v is %s", e.ID, ref.Key, o.status)
				return
			}
		}
	}
	if n := w.redis.left(); n > 0 {
		w.fail("unsettled", "%d entries are left in redis", n)
		return
	}
	for _, t := range w.provider.things {
		d, v := w.store.docs[t.key], t.current()
		if d != nil && d.Erased != nil {
			w.stays(d)
			continue
		}
		switch {
		case !t.told && t.erased == 0:
		case d == nil || d.Raw == nil && !v.gone:
			w.fail("wrong", "%v is not in the mirror", t.key)
		case v.gone != !d.DeletedAt.IsZero():
			w.fail("wrong", "%v: gone is %v, the mirror says %v", t.key, v.gone, !d.DeletedAt.IsZero())
		case !v.gone && w.provider.version(d.Raw) != v.number:
			w.fail("wrong", "%v: the mirror has version %d, the provider %d", t.key, w.provider.version(d.Raw), v.number)
		}
	}
	if d := w.feed.untold(); d != nil {
		w.fail("untold", "version %d of %v is not in the feed, which has version %d", d.Version, d.Key, w.feed.told[d.Key])
	}
}
