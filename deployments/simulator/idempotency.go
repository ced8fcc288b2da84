package simulator

import (
	"maps"
	"net/http"
	"sync"
	"time"
)

// keyRules are how a provider treats idempotency keys.
type keyRules struct {
	// covers reports whether a request can have one.
	covers func(*http.Request) bool
	// longest is the longest key in bytes, and keep how long the first answer is kept.
	longest int
	keep    time.Duration
	// keepsErrors: a failure of the provider's own is kept like any other answer.
	keepsErrors bool
	// replayed is the header that marks an answer from before, "" if there is none.
	replayed string
	// tooLong, otherRequest and inUse refuse a key that is too long, one that was used
	// for another request, and one whose first request has not been answered.
	tooLong, otherRequest, inUse *refusal
}

// kept is what is known of a key.
type kept struct {
	print  string // of the request
	until  time.Time
	answer storedAnswer
}

// keyStore has the keys of requests under way. What is kept of those that have ended is
// the world's, since it must survive with the effects.
type keyStore struct {
	world *world
	keep  time.Duration // 0: as the rules say
	mu    sync.Mutex
	open  map[string]bool
}

func newKeyStore(w *world, keep time.Duration) *keyStore {
	return &keyStore{world: w, keep: keep, open: map[string]bool{}}
}

// claim takes the key of a request until release is called. It returns the answer that is
// kept under it, or a refusal. To release it more than once does nothing.
func (s *keyStore) claim(rules *keyRules, f *WriteFacts, print string, now time.Time) (release func(), stored *storedAnswer, refused *refusal) {
	release = func() {}
	if f.Key == "" {
		return release, nil, nil
	}
	if len(f.Key) > rules.longest {
		f.Key = ""
		return release, nil, rules.tooLong
	}
	f.print, f.until = print, now.Add(rules.keep)
	if s.keep > 0 {
		f.until = now.Add(s.keep)
	}
	name := keyName(f)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[name] {
		return release, nil, rules.inUse
	}
	if k := s.world.keptUnder(name, now); k != nil {
		if k.print != print {
			return release, nil, rules.otherRequest
		}
		return release, &k.answer, nil
	}
	s.open[name] = true
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, name)
	}), nil, nil
}

// keyName distinguishes the keys of connected accounts.
func keyName(f *WriteFacts) string { return f.Account + "/" + f.Key }

// keptUnder returns what is known of a key, nil if that is nothing or its time is over.
func (w *world) keptUnder(name string, now time.Time) *kept {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if k := w.keys[name]; k != nil && now.Before(k.until) {
		return k
	}
	return nil
}

// keep makes the answer to a request that of its key.
func (w *world) keep(f *WriteFacts) {
	if w.bounds.events > 0 && len(w.keys) > w.bounds.events {
		maps.DeleteFunc(w.keys, func(_ string, k *kept) bool { return k.until.Before(w.last) })
	}
	w.keys[keyName(f)] = &kept{print: f.print, until: f.until, answer: f.stored}
}
