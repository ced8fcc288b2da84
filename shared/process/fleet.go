package process

import (
	"context"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// Identity waits until Redis and the store agree on the fleet they are of, and
// returns what goes on comparing them. It fails with identity.ErrMismatch if
// they do not. Of o, ReadOnly and Await are what the process chooses; the rest
// is set here.
func (p *Process) Identity(ctx context.Context, streams *stream.Streams, store storage.Identity, alerts *alert.Alerts, o identity.Options) (*identity.Keeper, error) {
	k := identity.New(identity.Options{
		Queue: streams, Store: store, Adopt: p.Adopt, ReadOnly: o.ReadOnly, Await: o.Await,
		Alert: alerts.Raise, Mismatched: p.Metrics.IdentityMismatch, Health: p.Health, Logger: p.Logger,
	})
	return k, k.Start(ctx)
}
