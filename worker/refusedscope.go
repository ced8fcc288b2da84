package worker

import (
	"context"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/worker/entity"
)

// An account that was connected to a platform may take back its permission. The provider
// accepts the platform's key then, and refuses whatever belongs to that account. So the
// probe path is asked within the account. If that is refused too, the account's entities
// wait as those of a refused kind do, and one alert is raised.

// ScopeProber is a Fetcher that asks whether a scope lets us in; *provider.Client is one.
type ScopeProber interface {
	// ProbeScope asks the probe path within a scope.
	ProbeScope(ctx context.Context, scope string) error
}

// newScopes returns what is known of the scopes of a source, nil if it has none.
func newScopes(w *Worker, o Source) *condition.Scopes {
	if o.Definition == nil || o.Definition.ScopeKind() == nil {
		return nil
	}
	kind := o.Definition.ScopeKind().Name
	return &condition.Scopes{
		Holds: w.Retry.First / sameFor,
		Probe: func(ctx context.Context, scope string) error {
			if prober, can := o.Client.(ScopeProber); can {
				return prober.ProbeScope(ctx, scope)
			}
			return nil
		},
		Refused: func(scope string, err error) { w.Alerts.Raise(alert.ScopeIsRefused(o.Name, kind, scope, err)) },
	}
}

// refusesMore reports whether the provider refuses more than an entity, though it accepts
// our key: all of its scope, or all of its kind. An error is of ctx or of the budget.
func (s *source) refusesMore(ctx context.Context, e entity.Consult) (bool, error) {
	scope := s.Definition.ScopeOf(event.Ref{Key: e.Key, Parents: e.Parents})
	refusal, err := s.scopes.Ask(ctx, scope, func(ctx context.Context) error { return s.token(ctx, e.Class) })
	if refusal != nil || err != nil {
		return refusal != nil, err
	}
	return s.refusesKind(ctx, e)
}
