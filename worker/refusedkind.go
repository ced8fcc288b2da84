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
// operator retries what is parked.
//
// For a kind whose list cannot be asked, the two other entities that were answered last
// are asked for again. If they are refused too, or none was answered since the process
// began, the kind counts as refused. A list or entity that fails otherwise proves nothing,
// and the refused entity is judged by itself.

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
	// known are the last findings, by listOf.
	known map[string]refusedKind
	// witnesses are the two entities that were answered last, by kind, the newest first.
	witnesses map[string][]event.Ref
	// told are the kinds of which an alert was raised, and nothing was answered since.
	told map[string]bool
}

// refusedKind is whether a kind is refused, as was found out.
type refusedKind struct {
	err   error // nil: it is not refused
	until time.Time
}

// sameFor is how many first retry pauses it holds for whether a kind is refused, by
// tenths: 6 seconds by default. An operator's retry after a correction is to find it
// out of date.
const sameFor = 10

// listOf names the list that an entity is in, by the parents that the entity needs, also
// if there is none. Not listed: it cannot be asked. Of an unknown kind the name is empty.
func listOf(k *provider.Kind, source string, parents map[string]string) (key provider.ListKey, name string, listed bool) {
	if k == nil {
		return key, "", false
	}
	set, _ := k.Parents(parents)
	name = k.Name
	for _, parent := range slices.Sorted(maps.Keys(set)) {
		name += "|" + set[parent]
	}
	return provider.ListKey{Source: source, Kind: k.Name, Parents: parents}, name, k.ListableUnder(parents)
}

// refusal returns the error of an entity whose scope or kind was refused a moment ago,
// nil if neither was.
func (s *source) refusal(ref event.Ref, now time.Time) error {
	if s.scopes != nil {
		if err := s.scopes.Recent(s.Definition.ScopeOf(ref)); err != nil {
			return err
		}
	}
	_, name, _ := listOf(s.Definition.Kind(ref.Key.Kind), s.Name, ref.Parents)
	r, _ := s.kinds.recent(name, now)
	return r.err
}

// recent returns what was found out a moment ago, if anything was.
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
	key, name, listed := listOf(s.Definition.Kind(e.Key.Kind), s.Name, e.Parents)
	lister, can := s.Client.(Lister)
	if name == "" || listed && !can {
		return false, nil
	}
	s.kinds.asking.Lock() // others that ask wait for the answer
	defer s.kinds.asking.Unlock()
	if r, ok := s.kinds.recent(name, time.Now()); ok {
		return r.err != nil, nil
	}
	why, controls := "refused-"+e.Key.Kind, []func() error(nil)
	if listed {
		controls = append(controls, func() error { _, err := lister.ListPage(ctx, key, "", why); return err })
	} else {
		for _, ref := range s.kinds.witnessesBut(e.Key) {
			controls = append(controls, func() error { _, err := s.Client.Fetch(ctx, ref, why); return err })
		}
	}
	r := refusedKind{err: e.Err, until: time.Now().Add(s.w.Retry.First / sameFor)}
	for _, ask := range controls {
		if err := s.token(ctx, e.Class); err != nil {
			return false, err
		}
		r.err = ask()
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if !fate.Is(r.err, fate.Refused) || fate.IsAlone(r.err) {
			r.err = nil
			break
		}
	}
	if s.kinds.note(name, e.Key.Kind, r) {
		s.w.Alerts.Raise(alert.Alert{
			Kind: alert.KindRefused, Source: s.Name, Class: fate.Refused.String(),
			Reason: fmt.Sprintf("kind %s: %s; give the key the permission to read it, then retry what is parked", e.Key.Kind, firstLine(short(r.err))),
		})
	}
	return r.err != nil, nil
}

// witnessesBut returns the witnesses of the kind of a refused entity, the newest first,
// without the entity itself, which is none any more.
func (k *refusedKinds) witnessesBut(refused event.Key) []event.Ref {
	k.mu.Lock()
	defer k.mu.Unlock()
	left := slices.DeleteFunc(k.witnesses[refused.Kind], func(ref event.Ref) bool { return ref.Key == refused })
	if k.witnesses != nil {
		k.witnesses[refused.Kind] = left
	}
	return slices.Clone(left)
}

// note keeps what was found out, and reports whether an alert is due.
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

// answered notes that an entity was answered; found: with its state.
func (k *refusedKinds) answered(ref event.Ref, found bool) {
	kind := ref.Key.Kind
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.witnesses == nil {
		k.witnesses = map[string][]event.Ref{}
	}
	if w := k.witnesses[kind]; found && (len(w) == 0 || w[0].Key != ref.Key) {
		k.witnesses[kind] = slices.Insert(w[:min(len(w), 1)], 0, ref)
	}
	if len(k.known) == 0 {
		return
	}
	delete(k.told, kind)
	maps.DeleteFunc(k.known, func(name string, _ refusedKind) bool {
		of, _, _ := strings.Cut(name, "|")
		return of == kind
	})
}
