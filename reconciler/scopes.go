package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// The scopes of a source are the accounts that a platform sees (see package provider). A
// sweep reads the lists of a scope under its entity, as those under any parent. The lists of
// events are read one after the other: the platform's own, then that of each scope
// that the mirror knows.
//
// A scope that refuses us has mostly taken back its permission. Nothing is concluded from
// what it does not show, and no sweep or search fails by it. One alert says so. Its
// entities are not asked for until it lets us in again.

// refusalHolds is for how long a scope that refused us is not asked.
const refusalHolds = time.Minute

// newScopes returns what is known of the scopes of the finder's source. All finders of
// the source share it.
func (f *finder) newScopes() *condition.Scopes {
	prober, ok := f.api.(interface {
		ProbeScope(ctx context.Context, scope string) error
	})
	if !ok || f.def == nil || f.def.ScopeKind() == nil {
		return nil
	}
	return &condition.Scopes{Probe: prober.ProbeScope, Holds: refusalHolds, Refused: func(scope string, err error) {
		f.alert(alert.ScopeIsRefused(f.name, f.def.ScopeKind().Name, scope, err))
	}}
}

// refusedScope reports whether a scope refuses us, by which something within it failed.
// An error is of ctx.
func (f *finder) refusedScope(ctx context.Context, scope string, err error) (bool, error) {
	if !fate.Is(err, fate.Refused) {
		return false, nil
	}
	refusal, err := f.scopes.Ask(ctx, scope, func(ctx context.Context) error { return f.token(ctx, event.Reconcile) })
	return refusal != nil, err
}

// knownScopes returns the scopes that the mirror knows, in order. None of a source
// without.
func (f *finder) knownScopes(ctx context.Context) (scopes []string, err error) {
	k := f.def.ScopeKind()
	if k == nil {
		return nil, nil
	}
	for filter := (storage.EntityFilter{Source: f.name, Kind: k.Name, Limit: 200}); ; {
		var page storage.Page[*storage.Document]
		err := f.persist(ctx, "list scopes", func() (err error) {
			page, err = f.store.Entities(ctx, filter)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, doc := range page.Items {
			if doc.DeletedAt.IsZero() && provider.CheckScope(doc.Key.ID) == nil {
				scopes = append(scopes, doc.Key.ID)
			}
		}
		if filter.Cursor = page.NextCursor; filter.Cursor == "" {
			break
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes), nil
}

// belowElements walks what is under the elements of the lists of a scope.
func (s *survey) belowElements(ctx context.Context, kinds []*provider.Kind, parents map[string]string) error {
	for _, k := range kinds {
		if k.ElementKey == "" || !slices.ContainsFunc(s.def.Under(k), s.leads) {
			continue
		}
		within, _ := k.Parents(parents)
		ids, err := s.elements(ctx, k, within)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := s.below(ctx, k, id, within, new(int), new(place)); err != nil {
				return err
			}
		}
	}
	return nil
}

// kindGapsScope is the kind of tasks that are notes, not work: how far the search for
// missed events has come in the list of a scope. They have no finishing time, so they are
// not forgotten.
const kindGapsScope = "gaps_scope"

// scopeSearch searches the lists of events of a source's scopes.
type scopeSearch struct {
	engine *engine
	task   *storage.Task // of the search of the source
	own    *gaps         // that of the platform's own list
	// known are the searches of scopes, by scope, with what they have told.
	known map[string]*gaps
}

// each calls do for the search of each scope that does not refuse us, with its state as
// it was saved. It ends with the first error.
func (s *scopeSearch) each(ctx context.Context, do func(*gaps) error) error {
	scopes, err := s.own.knownScopes(ctx)
	if err != nil {
		return err
	}
	before := s.known
	s.known = make(map[string]*gaps, len(scopes))
	for _, scope := range scopes {
		g := before[scope]
		if g == nil {
			if g, err = s.load(ctx, scope); err != nil {
				return err
			}
		}
		s.known[scope] = g
		if s.own.scopes.Recent(scope) != nil {
			continue
		}
		if err := do(g); err != nil {
			return err
		}
	}
	return nil
}

// load returns the search of a scope, as far as it had come.
func (s *scopeSearch) load(ctx context.Context, scope string) (*gaps, error) {
	standing := s.task.ID == gapsID(s.task.Source)
	note := &storage.Task{
		ID: kindGapsScope + "/" + s.own.name + "/" + scope, Kind: kindGapsScope, Source: s.own.name, By: s.task.ID,
		CreatedAt: s.own.now().UTC(),
	}
	if standing {
		err := s.own.persist(ctx, "read how far a search has come", func() error {
			if err := s.own.store.CreateTasks(ctx, []*storage.Task{note}); err != nil {
				return err
			}
			kept, err := s.own.store.Task(ctx, note.ID)
			if err == nil {
				note = kept
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	state, err := decodeState[gapState](note.State)
	if err != nil {
		return nil, err
	}
	g := &gaps{
		finder: s.own.finder, task: s.own.task, scope: scope, state: state, since: s.own.since, counts: s.own.counts, marks: s.own.marks,
		begun: s.own.now(), alarm: func(reason string) { s.own.alarm(s.own.def.ScopeKind().Name + " " + scope + ": " + reason) },
	}
	// A sweep is of all scopes, so one a day is enough for those that were away.
	g.sweep = func(ctx context.Context, _ string) (string, error) {
		return s.own.sweep(ctx, "scopes_"+s.own.now().UTC().Format(time.DateOnly))
	}
	g.note = func(ctx context.Context, _ error) error {
		s.own.calls += g.calls
		g.calls = 0
		if !standing {
			return nil
		}
		note.State, note.Status, note.Epoch, note.UpdatedAt = encodeState(g.state), storage.TaskRunning, s.task.Epoch, s.own.now().UTC()
		err := s.own.persist(ctx, "save how far a search has come", func() error {
			saved, err := s.own.store.SaveTask(ctx, note)
			if err == nil && !saved {
				return fmt.Errorf("%w: another replica searches the events of %s", errTask, scope)
			}
			return err
		})
		if err != nil && !errors.Is(err, errTask) {
			return fmt.Errorf("%w: %w", errTask, err)
		}
		return err
	}
	return g, nil
}

// attempt reads the list of each scope once. shown is the first of what is wrong; err
// is errTask, or of ctx.
func (s *scopeSearch) attempt(ctx context.Context) (shown, err error) {
	err = s.each(ctx, func(g *gaps) error {
		wrong, problem := g.attempt(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(problem, errTask) {
			return problem
		}
		if shown == nil && wrong != nil {
			shown = fmt.Errorf("%s %s: %w", g.def.ScopeKind().Name, g.scope, wrong)
		}
		return g.note(ctx, nil)
	})
	return shown, err
}
