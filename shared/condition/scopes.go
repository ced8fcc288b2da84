package condition

import (
	"context"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
)

// Scopes knows which scopes of a source refuse us, as one process sees it: accounts that
// took back a platform's permission. What belongs to such a scope waits; the source and its
// other scopes are well. It may be used by several goroutines. A nil Scopes knows of none.
type Scopes struct {
	// Probe asks the probe path within a scope. Needed.
	Probe func(ctx context.Context, scope string) error
	// Holds is how long an answer is taken for true. Needed.
	Holds time.Duration
	// Refused is called when a scope is found to refuse us, once until it answers
	// again. May be nil.
	Refused func(scope string, err error)

	// asking is held while a scope is asked: one at a time.
	asking sync.Mutex

	mu    sync.Mutex
	known map[string]scopeAnswer
	told  map[string]bool
}

// scopeAnswer is what a scope answered.
type scopeAnswer struct {
	err   error // nil: it did not refuse us
	until time.Time
}

// Recent returns the refusal of a scope that refused us a moment ago, nil if it did not.
func (s *Scopes) Recent(scope string) error {
	a, _ := s.recent(scope)
	return a.err
}

func (s *Scopes) recent(scope string) (scopeAnswer, bool) {
	if s == nil || scope == "" {
		return scopeAnswer{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.known[scope]
	if !ok || !time.Now().Before(a.until) {
		return scopeAnswer{}, false
	}
	return a, true
}

// Ask finds out whether a scope refuses us, after something within it was refused
// though the source accepts our key. token is called before a request. refusal is what
// the scope answered, nil if it lets us in. err is of token or of ctx.
func (s *Scopes) Ask(ctx context.Context, scope string, token func(context.Context) error) (refusal, err error) {
	if s == nil || scope == "" {
		return nil, nil
	}
	s.asking.Lock() // others that ask wait for the answer
	defer s.asking.Unlock()
	if a, ok := s.recent(scope); ok {
		return a.err, nil
	}
	if err := token(ctx); err != nil {
		return nil, err
	}
	answer := s.Probe(ctx, scope)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if !fate.Is(answer, fate.Refused) || fate.IsAlone(answer) {
		answer = nil
	}
	if s.note(scope, answer) && s.Refused != nil {
		s.Refused(scope, answer)
	}
	return answer, nil
}

// note keeps an answer, and reports whether it is to be told.
func (s *Scopes) note(scope string, refusal error) (tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known, s.told = map[string]scopeAnswer{}, map[string]bool{}
	}
	s.known[scope] = scopeAnswer{err: refusal, until: time.Now().Add(s.Holds)}
	tell = refusal != nil && !s.told[scope]
	s.told[scope] = refusal != nil
	return tell
}

// Answered notes that a scope has answered, so that it does not refuse us.
func (s *Scopes) Answered(scope string) {
	if s == nil || scope == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, scope)
	delete(s.told, scope)
}
