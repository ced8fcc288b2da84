package simulation

import (
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// Operator is something that an operator does to an entity's data.
type Operator struct {
	At     time.Duration
	Entity int
	// What is "erase" or "restore".
	What string
}

// looked is how long after an erasure nothing of it is on its way any more. The api
// restores nothing before the job that erases is over.
const looked = 5 * timeout

// operates does what operators do to an entity's data. What erases and restores is
// repeated until it is done, as by the jobs of the reconciler.
func (w *world) operates(o Operator) {
	if o.What == "erase" {
		w.erase(w.provider.things[o.Entity])
		return
	}
	w.restore(w.provider.things[o.Entity])
}

// erase writes the marker, then clears the records, then has what is parked settled. It
// leaves no hint for the change feed: the sequencer finds it in the store.
func (w *world) erase(t *thing) {
	insist(&w.outside, storeServer, answerless(func() { w.store.erase(t.ref()) }), func(nothing, error) {
		insist(&w.outside, storeServer, answerless(func() { w.store.clear(t.key) }), func(nothing, error) {
			insist(&w.outside, redisServer, answerless(func() { w.redis.retry(t.key) }), func(nothing, error) {
				w.say("operator: %v is erased", t.key)
				t.erased = w.now
				w.feed.find(t.key, func() { w.undone-- })
			})
		})
	})
}

// restore removes the marker, then has the entity fetched.
func (w *world) restore(t *thing) {
	if t.erased == 0 || w.now < t.erased+looked {
		w.after(timeout, func() { w.restore(t) })
		return
	}
	insist(&w.outside, storeServer, answerless(func() { w.store.restore(t.key) }), func(nothing, error) {
		sig := event.Signal{Ref: t.ref(), Cause: event.CauseOperator, CauseID: "restore", Class: event.Redrive}
		insist(&w.outside, redisServer, answerless(func() { w.redis.add(sig) }), func(nothing, error) {
			w.say("operator: %v is restored", t.key)
			w.undone--
		})
	})
}

// retry makes a parked entity due.
func (r *redis) retry(k event.Key) {
	for _, s := range r.shards {
		if p := s.parked[k]; p != nil {
			p.due = min(p.due, r.w.now)
		}
	}
}

// erase is storage.Store.Erase.
func (s *store) erase(ref event.Ref) {
	d := s.doc(ref.Key)
	if d.Erased != nil {
		return
	}
	if d.Claim == 0 {
		d.Parents = ref.Parents
	}
	s.raise(d)
	d.erasedBy = d.Claim
	d.Document = storage.Document{
		Key: d.Key, Parents: d.Parents, Claim: d.Claim, SyncedClaim: storage.ErasedClaim, OpenLetters: d.OpenLetters,
		Version: d.Version + 1, Fed: d.Fed,
		Erased: &storage.Marker{At: s.w.wall(), By: "operator"},
	}
}

// clear is storage.Store.Clear.
func (s *store) clear(k event.Key) {
	for of, l := range s.letters {
		if of.key == k && l.status == storage.LetterOpen {
			l.status = storage.LetterErased
			s.doc(k).OpenLetters--
		}
	}
	for _, r := range s.order {
		if o := r.outcomes[k]; o != nil && (o.status == storage.Pending || o.status == storage.Dead) {
			o.status = storage.Erased
		}
	}
}

// restore is storage.Store.Unerase.
func (s *store) restore(k event.Key) {
	if d := s.doc(k); d.Erased != nil {
		s.raise(d)
		d.Erased, d.SyncedClaim = nil, 0
	}
}

// asks checks that nothing is asked under a claim that was taken since the entity is erased.
func (w *world) asks(k event.Key, claim int64) {
	if d := w.store.doc(k); d.Erased != nil && claim > d.erasedBy {
		w.fail("erased", "%v is asked for by claim %d, and was erased by claim %d", k, claim, d.erasedBy)
	}
}

// stays checks that nothing but the marker is left of an erased entity.
func (w *world) stays(d *document) {
	if d.Erased != nil && (d.Raw != nil || d.SyncedClaim != storage.ErasedClaim) {
		w.fail("erased", "%v has a state, and was erased by claim %d", d.Key, d.erasedBy)
	}
}

// sawMarker reports whether a claim has shown the marker.
func (d *document) sawMarker(claim int64) bool { return slices.Contains(d.marked, claim) }
