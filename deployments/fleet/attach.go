package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/tarn-sync/tarn/shared/storage/open"
)

// Remote says where the parts of a fleet are that something else runs, such as containers.
// Its secrets are those of this package.
type Remote struct {
	// Redis and Store are URLs.
	Redis, Store string
	// API and Simulator are host:port.
	API, Simulator string
	// Source is the name of the source, of lemon.
	Source string
	// LeaseTTL is that of the fleet.
	LeaseTTL time.Duration
}

// Attach returns a fleet that something else runs, with all that looks at a fleet: its log, its
// mirror, what is left, and the simulator. It has no member that can be started, stopped or
// killed. Close ends the connections alone.
func Attach(ctx context.Context, r Remote) (_ *Fleet, err error) {
	f := &Fleet{plan: Plan{Source: r.Source, LeaseTTL: r.LeaseTTL}.withDefaults(), unwatch: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	f.Simulator = &Simulator{Addr: r.Simulator}
	f.members = []*Member{{Name: "api", Program: API, Addr: r.API, fleet: f}}
	f.ownURLs = []string{r.Redis}
	if err := f.openStreams(ctx); err != nil {
		return nil, err
	}
	f.Store, err = open.Open(ctx, open.Options{URL: r.Store, BulkSize: f.plan.bulk(), Logger: quiet})
	if err != nil {
		return nil, err
	}
	f.later(func() { _ = f.Store.Close() })
	return f, nil
}
