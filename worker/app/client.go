package app

import (
	"context"
	"sync/atomic"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/provider"
)

// client is a provider.Client that can be exchanged for one with another key
// while fetches are under way; those finish with the key they began with.
type client struct {
	current atomic.Pointer[provider.Client]
}

func newClient(s process.Source) (*client, error) {
	first, err := s.Client()
	if err != nil {
		return nil, err
	}
	c := &client{}
	c.current.Store(first)
	return c, nil
}

// Fetch asks for the current state of an entity.
func (c *client) Fetch(ctx context.Context, ref event.Ref, why string) (*provider.Snapshot, error) {
	return c.current.Load().Fetch(ctx, ref, why)
}

// Probe asks whether the provider accepts us.
func (c *client) Probe(ctx context.Context) error { return c.current.Load().Probe(ctx) }

// Allowance returns what the provider says is left of its rate limit.
func (c *client) Allowance() (provider.Allowance, bool) { return c.current.Load().Allowance() }

// clients are those of all sources, by name.
type clients map[string]*client

// reload takes the keys of settings that were read again. Sources that came or
// went need a restart, as the log says.
func (all clients) reload(c *config.Config) error {
	sources, err := process.Sources(c)
	if err != nil {
		return err
	}
	for _, s := range sources {
		known, ok := all[s.Name]
		if !ok {
			continue
		}
		next, err := s.Client()
		if err != nil {
			return err
		}
		known.current.Swap(next).Close()
	}
	return nil
}

func (all clients) close() {
	for _, c := range all {
		c.current.Load().Close()
	}
}
