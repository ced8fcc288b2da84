package process

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
)

// Client is a provider.Client that can be exchanged for one with another key
// while requests are under way; those finish with the key they began with.
type Client struct {
	source  Source
	current atomic.Pointer[provider.Client]
}

// Fetch asks for the current state of an entity.
func (c *Client) Fetch(ctx context.Context, ref event.Ref, why string) (*provider.Snapshot, error) {
	return c.current.Load().Fetch(ctx, ref, why)
}

// ListPage asks for one page of the entities of a kind.
func (c *Client) ListPage(ctx context.Context, key provider.ListKey, cursor, why string) (*provider.ListPage, error) {
	return c.current.Load().ListPage(ctx, key, cursor, why)
}

// EventsPage asks for one page of the events the provider has kept.
func (c *Client) EventsPage(ctx context.Context, source string, since time.Time, cursor, why string) (*provider.EventsPage, error) {
	return c.current.Load().EventsPage(ctx, source, since, cursor, why)
}

// Webhooks asks for the webhooks the provider sends.
func (c *Client) Webhooks(ctx context.Context, why string) ([]provider.Webhook, error) {
	return c.current.Load().Webhooks(ctx, why)
}

// Probe asks whether the provider accepts us.
func (c *Client) Probe(ctx context.Context) error { return c.current.Load().Probe(ctx) }

// Allowance returns what the provider says is left of its rate limit.
func (c *Client) Allowance() (provider.Allowance, bool) { return c.current.Load().Allowance() }

// Clients are those of all sources, by name.
type Clients map[string]*Client

// NewClients makes a client for every source.
func NewClients(sources []Source) (Clients, error) {
	all := Clients{}
	for _, s := range sources {
		first, err := s.Client()
		if err != nil {
			all.Close()
			return nil, err
		}
		all[s.Name] = &Client{source: s}
		all[s.Name].current.Store(first)
	}
	return all, nil
}

// Reload takes the keys of settings that were read again.
func (all Clients) Reload(c *config.Config) error {
	for _, known := range all {
		next, err := known.source.Reloaded(c).Client()
		if err != nil {
			return err
		}
		known.current.Swap(next).Close()
	}
	return nil
}

// Close lets idle connections go.
func (all Clients) Close() {
	for _, c := range all {
		c.current.Load().Close()
	}
}
