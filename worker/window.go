package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/worker/entity"
)

// window is the last 50 answers for entities the mirror knows: whether each
// was a 404. When more than a fifth are, the provider has not lost that many
// entities at once; we are asking at the wrong place.
type window struct {
	gone [50]bool
	n    int // answers ever
	sum  int // 404s among the last 50
}

// add notes one answer.
func (w *window) add(gone bool) {
	i := w.n % len(w.gone)
	if w.n >= len(w.gone) && w.gone[i] {
		w.sum--
	}
	w.gone[i] = gone
	w.n++
	if gone {
		w.sum++
	}
}

// revise turns the 404 that was the nth answer (from 0) into a good one. False:
// so many have come since that it counts no longer.
func (w *window) revise(n int) bool {
	if w.n-n > len(w.gone) {
		return false
	}
	w.gone[n%len(w.gone)] = false
	w.sum--
	return true
}

// suspicious reports whether more than a fifth of the answers were 404.
func (w *window) suspicious() bool {
	return w.sum*5 > min(w.n, len(w.gone))
}

// full reports whether there are enough answers to judge by alone.
func (w *window) full() bool { return w.n >= len(w.gone) }

// noneLeft reports whether there was nothing but 404s for a whole window.
func (w *window) noneLeft() bool { return w.sum == len(w.gone) }

// noteAnswer notes what the provider answered: for the count of failures in a row,
// and, for entities the mirror knows, whether they were suddenly gone. An
// entity that is asked for again counts once, by its last answer.
func (s *source) noteAnswer(e entity.Report) {
	err, k, known := e.Err, e.Ref.Key, knownAlive(e.Document)
	class, _ := fate.Of(err)
	if err == nil && !e.Emptied {
		s.evidence.filled(k)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil || class.Answered() {
		s.failed = 0
		s.throttle.Answered(k)
	}
	if !known {
		return
	}
	switch {
	case err == nil && e.Snapshot.Deleted:
		s.evidence.lost(k, counted{})
		s.recent.add(false)
		s.foreseen.add(false)
	case err == nil:
		was := s.evidence.found(k)
		for _, w := range []*window{&s.recent, &s.foreseen} {
			if w != was.in || !w.revise(was.n) {
				w.add(false)
			}
		}
	case class != fate.Gone || s.evidence.isMissing(k):
	default:
		w := &s.recent
		if e.Foreseen {
			w = &s.foreseen
		}
		s.evidence.lost(k, counted{w, w.n})
		w.add(true)
	}
}

// believable reports whether a 404 for a known entity, since a time by Redis'
// clock, may be believed, so that it becomes a tombstone, or that a root list has
// no elements any more: the one question that decides it. If not, the attempt
// is to be held: the source is paused, or the entity is to be asked for again.
//
// When many known entities are gone at once, the address is more likely wrong
// than all of them deleted. However few there are, another known one must be
// found. What an operator has accepted needs neither.
func (s *source) believable(ctx context.Context, q entity.Consult, asked time.Time) bool {
	left, err := s.w.Streams.DeletionsAccepted(ctx, s.Name)
	if err != nil {
		return false
	}
	return left > 0 || s.fewEnough(ctx, q.Foreseen) && s.witnessed(ctx, q, asked)
}

// fewEnough reports whether few enough of the last answers were 404. If not, the
// source is paused. Many entities that a sweep has found missing from a complete
// list are no sign of a wrong address, unless nothing else is answered at all.
func (s *source) fewEnough(ctx context.Context, foreseen bool) bool {
	s.mu.Lock()
	suspicious, full := s.recent.suspicious(), s.recent.full()
	if foreseen {
		suspicious, full = s.foreseen.noneLeft(), true
	}
	s.mu.Unlock()
	switch {
	case !suspicious:
		return true
	case s.isIll(ctx, s.prober.Recent):
		return false
	case !full:
		return true
	}
	s.pauseAs(ctx, fate.NewPause(fate.PausedMisconfigured, 0,
		"too many known entities are not found; check api_url and api_key, then resume the source by hand; if they were deleted, with accept_deletions"))
	return false
}

// forgetAnswers begins to judge anew, once somebody has seen to it.
func (s *source) forgetAnswers() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evidence.forget()
	s.recent, s.foreseen = window{}, window{}
}
