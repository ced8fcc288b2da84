package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/witness"
	"github.com/tarn-sync/tarn/worker/entity"
)

const (
	// learnEvery is the least time between two tries to learn who we are,
	// learnedFor that after one that did not fail: another worker, or another
	// account that was accepted, may have changed it.
	learnEvery, learnedFor = time.Minute, time.Hour
	// askedFor is how long an answer that decides nothing is kept: the same witness
	// would most likely answer the same.
	askedFor = time.Second
)

// evidence is what a worker knows about whether it asks the account that the mirror
// is of.
type evidence struct {
	src       *source
	witnesses witness.Witnesses
	// turn is in the channel unless an attempt is asking for a witness.
	turn chan struct{}

	mu    sync.Mutex
	proof witness.Proof
	// notBefore is when witnesses may be asked next.
	notBefore time.Time
	// emptied are root lists that the mirror knows with elements and the provider
	// shows without any, and since when by Redis' clock.
	emptied map[event.Key]time.Time
	// learnAt is when who we are may be asked for next.
	learnAt time.Time
}

func newEvidence(w *Worker, s *source) *evidence {
	e := &evidence{
		src: s,
		witnesses: witness.Witnesses{
			Source: s.Name, Definition: s.Definition, API: s.Client, Mirror: w.Store, Accounts: w.Streams,
		},
		turn: make(chan struct{}, 1), emptied: map[event.Key]time.Time{},
	}
	e.turn <- struct{}{}
	return e
}

// emptiedSince returns since when a root list is shown without elements; now, if
// that is new.
func (e *evidence) emptiedSince(k event.Key, now time.Time) time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	since, ok := e.emptied[k]
	if !ok || now.Before(since) { // or Redis' clock was set back
		since = now
		e.emptied[k] = since
	}
	return since
}

// filled notes that a root list is as the provider shows it.
func (e *evidence) filled(k event.Key) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.emptied, k)
}

// forget clears the lists that were shown without elements.
func (e *evidence) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.emptied = map[event.Key]time.Time{}
	e.learnAt = time.Time{} // it may be another account by now
}

// mayAsk reports whether witnesses may be asked again.
func (e *evidence) mayAsk() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !time.Now().Before(e.notBefore)
}

// wait returns how long to wait for a proof before an entity is asked for again.
func (e *evidence) wait() time.Duration {
	if len(e.turn) == 0 || !e.mayAsk() {
		return askedFor // nothing is known sooner
	}
	return 100 * time.Millisecond
}

func (e *evidence) lastProof() witness.Proof {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.proof
}

// learn keeps who the provider says we are, once a known entity was found. It
// is tried again in a minute if it could not be asked, else in an hour; asking
// costs a few tokens of a class. What every account has is no known entity.
func (e *evidence) learn(ctx context.Context, known event.Ref, class event.Class) {
	if !e.src.Definition.HasIdentity() || e.src.Definition.Kind(known.Key.Kind).Rootless() {
		return
	}
	e.mu.Lock()
	due := !time.Now().Before(e.learnAt)
	if due {
		e.learnAt = time.Now().Add(learnEvery)
	}
	e.mu.Unlock()
	if !due {
		return
	}
	token := func(ctx context.Context) error { return e.src.token(ctx, class) }
	switch err := e.witnesses.Learn(ctx, known, token); {
	case err == nil:
		e.mu.Lock()
		e.learnAt = time.Now().Add(learnedFor)
		e.mu.Unlock()
	case ctx.Err() == nil && !errors.Is(err, fate.ErrPaused):
		e.src.w.Logger.Warn("could not learn whose key the source is asked with", "source", e.src.Name, "error", err)
	}
}

// witnessed reports whether it is proven that the account is asked that the
// mirror is of, so that a known entity that was not found since a time (by Redis'
// clock) is gone. A proof holds
// for entities that were not found both before and after it. If there is none,
// known entities are asked for one; it is then for the next fetch of this entity
// to come after it. One attempt asks at a time, and the others do not wait for it:
// each would hold a slot meanwhile. If none of them is found either, the source is paused until
// one is, or until an operator accepts that they were deleted.
func (e *evidence) witnessed(ctx context.Context, q entity.Consult, asked time.Time) bool {
	begun := time.Now()
	now, err := e.src.w.Streams.Now(ctx)
	if err != nil {
		return false
	}
	if e.lastProof().Between(q.Since, asked, now) {
		return true
	}
	select {
	case <-e.turn:
		defer func() { e.turn <- struct{}{} }()
	default:
		return false
	}
	if e.src.paused() || !e.mayAsk() || e.lastProof().By.After(asked) {
		return false // another attempt has asked meanwhile
	}
	outcome, kinds, err := e.witnesses.Prove(ctx, q.Key.Kind, witness.Question{
		About: q.Key, Missing: e.src.answers.Missing,
		Token: func(ctx context.Context) error { return e.src.token(ctx, q.Class) },
	})
	switch {
	case ctx.Err() != nil:
	case outcome == witness.Proven:
		e.mu.Lock()
		e.proof = witness.Proof{From: now, Begun: begun, By: time.Now()}
		e.mu.Unlock()
	case outcome == witness.Refuted:
		e.pauseForWitnesses(ctx, q.Key.Kind, kinds)
	case errors.Is(err, fate.ErrPaused):
	default:
		e.src.w.Logger.Warn("could not find out whether the right account is asked; a known entity that is not found is kept",
			"entity", q.Key.String(), "error", err)
		e.mu.Lock()
		e.notBefore = time.Now().Add(askedFor)
		e.mu.Unlock()
		e.src.isDown(ctx)
	}
	return false
}

// pauseForWitnesses pauses the source since nothing that the mirror knows is
// found.
func (e *evidence) pauseForWitnesses(ctx context.Context, kind string, witnesses []string) {
	e.src.condition.PauseFor(ctx, condition.PausedMisconfigured, fmt.Sprintf(
		"the provider finds neither what the mirror knows of a kind (%s) nor anything else it knows; check api_url and api_key. "+
			"It resumes once one is found; if they were deleted, resume it with accept_deletions", kind), witnesses)
}
