package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/worker/entity"
)

// A key may lack the permission for some kinds. The provider accepts it then, and
// refuses each entity of such a kind. A dead letter for each would hide the one cause:
// so the kind's list is asked. If that is refused too, entities of the kind wait,
// uncharged, and one alert is raised. They are tried again now and then, or when an
// operator retries what is parked. A kind whose list cannot be asked is not known to be
// refused, and each of its entities is judged by itself.

// Lister is a Fetcher that asks for lists too; *provider.Client is one.
type Lister interface {
	// ListPage asks for one page of the entities of a kind.
	ListPage(ctx context.Context, key provider.ListKey, cursor, why string) (*provider.ListPage, error)
}

// refusedKinds knows which kinds of a source the provider refuses. Safe for concurrent
// use.
type refusedKinds struct {
	// asking is held while a list is asked: one at a time.
	asking sync.Mutex

	mu sync.Mutex
	// known are the answers of lists, by listOf.
	known map[string]refusedKind
	// told are the kinds of which an alert was raised, and nothing was answered since.
	told map[string]bool
}

// refusedKind is what a list answered.
type refusedKind struct {
	err   error // nil: it is not refused
	until time.Time
}

// sameFor is how many first retry pauses the answer of a kind's list holds for, by
// tenths: 6 seconds by default. An operator's retry after a correction is to find it
// out of date.
const sameFor = 10

// listOf names the list that an entity is in. False: it cannot be asked.
func listOf(k *provider.Kind, source string, parents map[string]string) (key provider.ListKey, name string, ok bool) {
	if k == nil || !k.Listable() {
		return key, "", false
	}
	set, ok := k.Parents(parents)
	name = k.Name
	for _, parent := range slices.Sorted(maps.Keys(set)) {
		name += "|" + set[parent]
	}
	return provider.ListKey{Source: source, Kind: k.Name, Parents: set}, name, ok
}

// refusal returns the error of an entity whose scope or kind was refused a moment ago,
// nil if neither was.
func (s *source) refusal(ref event.Ref, now time.Time) error {
	if s.scopes != nil {
		if err := s.scopes.Recent(s.Definition.ScopeOf(ref)); err != nil {
			return err
		}
	}
	_, name, ok := listOf(s.Definition.Kind(ref.Key.Kind), s.Name, ref.Parents)
	if !ok {
		return nil
	}
	r, _ := s.kinds.recent(name, now)
	return r.err
}

// recent returns what a list answered a moment ago, if it was asked then.
func (k *refusedKinds) recent(name string, now time.Time) (refusedKind, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.known[name]
	if !ok || !now.Before(r.until) {
		return refusedKind{}, false
	}
	return r, true
}

// refusesKind reports whether the provider refuses all of the kind of an entity, which
// it has refused though it accepts our key. An error is of ctx or of the budget.
func (s *source) refusesKind(ctx context.Context, e entity.Consult) (bool, error) {
	lister, can := s.Client.(Lister)
	key, name, ok := listOf(s.Definition.Kind(e.Key.Kind), s.Name, e.Parents)
	if !can || !ok {
		return false, nil
	}
	s.kinds.asking.Lock() // others that ask wait for the answer
	defer s.kinds.asking.Unlock()
	if r, ok := s.kinds.recent(name, time.Now()); ok {
		return r.err != nil, nil
	}
	if err := s.token(ctx, e.Class); err != nil {
		return false, err
	}
	_, err := lister.ListPage(ctx, key, "", "refused-"+e.Key.Kind)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	r := refusedKind{until: time.Now().Add(s.w.Retry.First / sameFor)}
	if fate.Is(err, fate.Refused) && !fate.IsAlone(err) {
		r.err = err
	}
	if s.kinds.note(name, e.Key.Kind, r) {
		s.w.Alerts.Raise(alert.Alert{
			Kind: alert.KindRefused, Source: s.Name, Class: fate.Refused.String(),
			Reason: fmt.Sprintf("kind %s: %s; give the key the permission to read it, then retry what is parked", e.Key.Kind, firstLine(short(err))),
		})
	}
	return r.err != nil, nil
}

// note keeps what a list answered, and reports whether an alert is due.
func (k *refusedKinds) note(name, kind string, r refusedKind) (tell bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.known == nil {
		k.known, k.told = map[string]refusedKind{}, map[string]bool{}
	}
	k.known[name] = r
	tell = r.err != nil && !k.told[kind]
	k.told[kind] = k.told[kind] || tell
	return tell
}

// answered notes that an entity of a kind was answered.
func (k *refusedKinds) answered(kind string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.known) == 0 {
		return
	}
	delete(k.told, kind)
	maps.DeleteFunc(k.known, func(name string, _ refusedKind) bool {
		of, _, _ := strings.Cut(name, "|")
		return of == kind
	})
}
