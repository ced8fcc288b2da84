package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/probe"
	"github.com/tarn-sync/tarn/shared/stream"
)

const (
	// mostMissing is how many entities are remembered that were not found.
	mostMissing = 10_000
	// learnEvery is the least time between two tries to learn who we are.
	learnEvery = time.Minute
)

// evidence is what a worker knows of whether the account is asked that the
// mirror is of.
type evidence struct {
	witnesses probe.Witnesses
	// turn is in the channel unless somebody asks for a witness.
	turn chan struct{}

	mu    sync.Mutex
	proof probe.Proof
	// missing are known entities that were not found when last asked for. They
	// are no witnesses.
	missing map[event.Key]bool
	// learnAt is when who we are may be asked for next.
	learnAt time.Time
}

func newEvidence(w *Worker, s *source) *evidence {
	e := &evidence{
		witnesses: probe.Witnesses{
			Source: s.Name, Definition: s.Definition, API: s.Client, Mirror: w.Store, Accounts: w.Streams,
		},
		turn: make(chan struct{}, 1), missing: map[event.Key]bool{},
	}
	e.turn <- struct{}{}
	return e
}

// note takes what the provider said of a known entity.
func (e *evidence) note(k event.Key, found bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case found:
		delete(e.missing, k)
	case len(e.missing) < mostMissing:
		e.missing[k] = true
	}
}

// forget forgets which entities were not found.
func (e *evidence) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.missing = map[event.Key]bool{}
}

func (e *evidence) isMissing(k event.Key) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.missing[k]
}

func (e *evidence) lastProof() probe.Proof {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.proof
}

// learn keeps who the provider says we are, once a known entity was found. It
// is tried again in a minute if it could not be learned; asking costs a token or
// two.
func (s *source) learn(ctx context.Context, known event.Ref) {
	if !s.Definition.HasIdentity() {
		return
	}
	e := s.evidence
	e.mu.Lock()
	due := !time.Now().Before(e.learnAt)
	if due {
		e.learnAt = time.Now().Add(learnEvery)
	}
	e.mu.Unlock()
	if !due {
		return
	}
	if err := e.witnesses.Learn(ctx, known, s.token); err != nil && ctx.Err() == nil {
		s.w.Logger.Warn("could not learn whose key the source is asked with", "source", s.Name, "error", err)
	}
}

// witnessed reports whether it is proven that the account is asked that the
// mirror is of, so that a known entity that was not found is gone. A proof holds
// for entities that were not found both before and after it. If there is none,
// known entities are asked for one; it is then for the next fetch of this entity
// to come after it. If none of them is found either, the source is paused until
// one is, or until an operator accepts that they were deleted.
func (a *attempt) witnessed(ctx context.Context) bool {
	s, e := a.src, a.src.evidence
	if e.lastProof().Between(a.state.GoneSince, a.asked) {
		return true
	}
	select {
	case <-e.turn:
		defer func() { e.turn <- struct{}{} }()
	case <-ctx.Done():
		return false
	}
	if s.paused() || e.lastProof().By.After(a.asked) {
		return false // another attempt has asked meanwhile
	}
	from, err := s.w.Streams.Now(ctx)
	if err != nil {
		return false
	}
	outcome, kinds, err := e.witnesses.Prove(ctx, a.ln.key.Kind, probe.Question{
		About: a.ln.key, Missing: e.isMissing, Token: s.token,
	})
	switch {
	case ctx.Err() != nil:
	case outcome == probe.Proven:
		e.mu.Lock()
		e.proof = probe.Proof{From: from, By: time.Now()}
		e.mu.Unlock()
	case outcome == probe.Refuted:
		s.pauseForWitnesses(ctx, a.ln.key.Kind, kinds)
	case errors.Is(err, errPaused):
	default:
		a.s.log.Warn("could not find out whether the right account is asked; a known entity that is not found is kept",
			"entity", a.ln.key.String(), "error", err)
		if !s.isDown(ctx) {
			sleep(ctx, time.Second) // others wait for their turn meanwhile
		}
	}
	return false
}

// pauseForWitnesses pauses the source since nothing that the mirror knows is
// found.
func (s *source) pauseForWitnesses(ctx context.Context, kind string, witnesses []string) {
	p := fate.NewPause(fate.PausedMisconfigured, pauses.Length(s.state.Load().Strikes), fmt.Sprintf(
		"the provider finds neither an entity (%s) nor another that the mirror knows; check api_url and api_key. "+
			"It resumes once one is found; if they were deleted, resume it with accept_deletions", kind))
	p.Witnesses = witnesses
	s.pauseAs(ctx, p)
}

// answersChanged reports whether the pause may end: a known entity is found
// again, or need not be.
func (s *source) answersChanged(ctx context.Context, state stream.SourceState) bool {
	changed, err := s.evidence.witnesses.Changed(ctx, state.Witnesses)
	if err != nil {
		s.w.Logger.Warn("could not find out whether the right account is asked", "source", s.Name, "error", err)
	}
	return changed
}

// errPaused: the source was paused before a token was to be had.
var errPaused = errors.New("the source is paused")

// token takes a token of the source's budget, for what no lane asks.
func (s *source) token(ctx context.Context) error {
	for {
		rate := s.pace.of(*s.rate.Load(), s.Client, time.Now())
		if rate.Limit <= 0 {
			return nil
		}
		g, err := s.w.Streams.Take(ctx, s.Name, event.Live, 1, rate)
		switch {
		case err != nil:
			return fromRedis(err)
		case g.Source.Paused:
			s.see(g.Source)
			return errPaused
		case g.Tokens > 0:
			return nil
		}
		if !sleep(ctx, max(g.Wait, time.Millisecond)) {
			return ctx.Err()
		}
	}
}
