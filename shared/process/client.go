package process

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
)

// Client is a provider.Client that can be exchanged for one with another key
// while requests are under way; those finish with the key they began with.
type Client struct {
	source  Source
	current atomic.Pointer[provider.Client]
	writer  atomic.Pointer[provider.Writer] // nil: there is no key for changes
	rate    atomic.Pointer[stream.Rate]
	budget  atomic.Pointer[Budget]
}

// Budget grants the fleet's requests; *stream.Streams is one.
type Budget interface {
	Take(ctx context.Context, source string, class event.Class, n int, r stream.Rate) (stream.Grant, error)
}

// Fetch asks for the current state of an entity.
func (c *Client) Fetch(ctx context.Context, ref event.Ref, why string) (*provider.Snapshot, error) {
	return c.current.Load().Fetch(ctx, ref, why)
}

// ListPage asks for one page of the entities of a kind.
func (c *Client) ListPage(ctx context.Context, key provider.ListKey, cursor, why string) (*provider.ListPage, error) {
	return c.current.Load().ListPage(ctx, key, cursor, why)
}

// FindPage asks for one page of the list that shows what a create has made.
func (c *Client) FindPage(ctx context.Context, source string, cmd provider.Command, cursor, why string) (*provider.ListPage, error) {
	return c.current.Load().FindPage(ctx, source, cmd, cursor, why)
}

// EventsPage asks for one page of the events the provider has kept.
func (c *Client) EventsPage(ctx context.Context, key provider.EventsKey, since time.Time, cursor, why string) (*provider.EventsPage, error) {
	return c.current.Load().EventsPage(ctx, key, since, cursor, why)
}

// Webhooks asks for the webhooks the provider sends.
func (c *Client) Webhooks(ctx context.Context, why string) ([]provider.Webhook, error) {
	return c.current.Load().Webhooks(ctx, why)
}

// Probe asks whether the provider accepts us.
func (c *Client) Probe(ctx context.Context) error { return c.current.Load().Probe(ctx) }

// ProbeScope asks whether the provider lets us into a scope.
func (c *Client) ProbeScope(ctx context.Context, scope string) error {
	return c.current.Load().ProbeScope(ctx, scope)
}

// Identity asks whose key it is.
func (c *Client) Identity(ctx context.Context) (string, error) { return c.current.Load().Identity(ctx) }

// Allowance returns what the provider says is left of its rate limit.
func (c *Client) Allowance() (provider.Allowance, bool) { return c.current.Load().Allowance() }

// page takes a token for a further page of a list kind: the caller of the fetch has
// taken one for the first page. It goes with the highest class, since the entity's
// lane and lock are held meanwhile. A budget that cannot be asked, or a source
// that has been paused since, ends nothing: the fetch was begun in time.
func (c *Client) page(ctx context.Context) error {
	budget, rate := c.budget.Load(), *c.rate.Load()
	if budget == nil || rate.Limit <= 0 {
		return nil
	}
	for {
		g, err := (*budget).Take(ctx, c.source.Name, event.Live, 1, rate)
		if err != nil || g.Tokens > 0 || g.Source.Paused {
			return ctx.Err()
		}
		if !loops.Sleep(ctx, max(g.Wait, time.Millisecond)) {
			return ctx.Err()
		}
	}
}

// take goes over to the key and rate of a source. The connections stay.
func (c *Client) take(s Source) error {
	next, err := c.with(s)
	if err != nil {
		return err
	}
	rate := RateOf(s.Rate)
	c.rate.Store(&rate)
	writer, err := next.Writer(string(s.WriteKey))
	if err != nil && !errors.Is(err, provider.ErrNoWriteKey) {
		return fmt.Errorf("source %s: %w", s.Name, err)
	}
	c.current.Store(next)
	c.writer.Store(writer)
	return nil
}

func (c *Client) with(s Source) (*provider.Client, error) {
	current := c.current.Load()
	if current == nil {
		return s.client(c.page)
	}
	next, err := current.WithKey(string(s.APIKey))
	if err != nil {
		return nil, fmt.Errorf("source %s: %w", s.Name, err)
	}
	return next, nil
}

// Writer returns what sends changes with the key of this moment. Nil: there is none.
func (c *Client) Writer() *provider.Writer { return c.writer.Load() }

// RateOf is a rate of the settings.
func RateOf(r config.Rate) stream.Rate {
	return stream.Rate{Limit: r.Limit, Per: r.Per, Commands: r.Commands}
}

// Clients are those of all sources, by name.
type Clients map[string]*Client

// NewClients makes a client for every source.
func NewClients(sources []Source) (Clients, error) {
	all := Clients{}
	for _, s := range sources {
		c := &Client{source: s}
		if err := c.take(s); err != nil {
			all.Close()
			return nil, err
		}
		all[s.Name] = c
	}
	return all, nil
}

// Budget has all take tokens from b for what one fetch asks beyond its first
// request.
func (all Clients) Budget(b Budget) {
	for _, c := range all {
		c.budget.Store(&b)
	}
}

// Reload takes the keys and rates of settings that were read again. A source whose new
// key cannot be used keeps the one it has; the others take theirs all the same.
func (all Clients) Reload(c *config.Config) error {
	var failed []error
	for _, known := range all {
		failed = append(failed, known.take(known.source.Reloaded(c)))
	}
	return errors.Join(failed...)
}

// Close lets idle connections go.
func (all Clients) Close() {
	for _, c := range all {
		c.current.Load().Close()
	}
}
