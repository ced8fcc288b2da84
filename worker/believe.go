package worker

import (
	"context"
	"time"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/worker/entity"
)

// noteAnswer records an answer of the provider: in the streak of failures, and in
// the window of 404s if the mirror knows the entity.
func (s *source) noteAnswer(e entity.Report) {
	err, k, known := e.Err, e.Ref.Key, e.Document.Alive()
	class, _ := fate.Of(err)
	if err == nil && !e.Emptied {
		s.evidence.filled(k)
	}
	if err == nil || class.Answered() {
		s.failed.End()
		s.condition.Throttle.Answered(k)
		s.kinds.answered(e.Ref, err == nil)
		if s.scopes != nil {
			s.scopes.Answered(s.Definition.ScopeOf(e.Ref))
		}
	}
	switch {
	case !known:
	case err == nil && e.Snapshot.Deleted:
		s.answers.Stub(k)
	case err == nil:
		s.answers.Found(k)
	case class == fate.Gone:
		s.answers.NotFound(k, e.Foreseen)
	}
}

// believable reports whether an answer that says something is gone may be believed:
// a 404 for a known entity, which then becomes a tombstone, or a root list without
// elements. since is by Redis' clock. If not, the attempt is held: the source is
// paused, or the entity is asked for again.
//
// When many known entities are gone at once, the address is more likely wrong
// than all of them deleted. However few there are, another known entity must be
// found. Deletions that an operator has accepted need neither.
func (e *evidence) believable(ctx context.Context, q entity.Consult, asked time.Time) bool {
	left, err := e.src.w.Streams.DeletionsAccepted(ctx, e.src.Name)
	if err != nil {
		return false
	}
	return left > 0 || e.fewEnough(ctx, q.Foreseen) && e.witnessed(ctx, q, asked)
}

// fewEnough reports whether few enough of the last answers were 404. If not, the
// source is paused. Many entities that a sweep has found missing from a complete
// list are no sign of a wrong address, unless nothing else is answered at all.
func (e *evidence) fewEnough(ctx context.Context, foreseen bool) bool {
	suspicious, certain := e.src.answers.Suspicious(foreseen)
	switch {
	case !suspicious:
		return true
	case e.src.condition.IsIll(ctx, e.src.condition.Prober.Recent):
		return false
	case !certain:
		return true
	}
	e.src.condition.Pause(ctx, condition.NewPause(condition.PausedMisconfigured, 0,
		"too many known entities are not found; check api_url and api_key, then resume the source by hand; if they were deleted, with accept_deletions"))
	return false
}

// forgetAnswers empties the window of 404s once a pause as misconfigured is over.
func (e *evidence) forgetAnswers() {
	e.forget()
	e.src.answers.Forget()
}
