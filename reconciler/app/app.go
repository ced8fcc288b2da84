// Package app builds the reconciler from its settings.
package app

import (
	"context"

	"github.com/tarn-sync/tarn/reconciler"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// About is what --help says.
const About = `Finds what events missed and has it repaired: events that never came, entities
that differ from what the provider lists, work that Redis lost. Redrives or
discards dead letters by filter. Run as many as you like; they share the work,
and when one dies, another continues its tasks.

What runs when, for each source (see sources.*.reconcile below):

  gaps      every gaps.every: the provider's list of events against the log
  sweep     every sweep.every: the provider's lists against the mirror
  recover   every recover.every: unsettled events against the queue
  webhooks  daily: the provider's subscription against the types there are
`

// Program is the binary.
func Program() process.Program {
	return process.Program{
		Name: "reconciler", About: About, Run: Run,
		Commands: []process.Command{verifyCommand(), backfillCommand()},
	}
}

// Run runs a reconciler until ctx ends. It serves health and metrics from the start, so
// that a reconciler waiting for Redis does not look like one that hangs.
func Run(ctx context.Context, p *process.Process) error {
	return p.Probed(ctx, "http.reconciler_addr", p.Config.HTTP.ReconcilerAddr, func(ctx context.Context, probe *process.Probe) error {
		return with(ctx, p, identity.Options{}, func(ctx context.Context, t *tools) error {
			p.OnReload(t.clients.Reload)
			p.OnReload(t.setRates)
			p.OnReload(t.receivers.reload)
			probe.Ready(process.Checks(t.streams, t.options.Store, t.keeper))
			p.Logger.Info("joining the fleet", "reconciler", t.options.ID)
			p.WarnOfUnconfigured(ctx, t.streams, t.options.Store)
			return t.keeper.Keep(ctx, func(ctx context.Context) error { t.Run(ctx); return nil })
		})
	})
}

// tools are a reconciler and what it uses.
type tools struct {
	*reconciler.Reconciler
	options   reconciler.Options
	clients   process.Clients
	receivers receivers
	streams   *stream.Streams
	keeper    *identity.Keeper
}

// with calls do with a reconciler made from the settings, and closes it afterwards.
// part is its part in the fleet's identity.
func with(ctx context.Context, p *process.Process, part identity.Options, do func(context.Context, *tools) error) error {
	sources, err := process.Sources(p.Config)
	if err != nil {
		return err
	}
	t := &tools{}
	if t.clients, err = process.NewClients(sources); err != nil {
		return err
	}
	defer t.clients.Close()
	if t.streams, err = p.Streams(ctx); err != nil {
		return err
	}
	defer p.Closing("redis", t.streams.Close)
	t.clients.Budget(t.streams)
	store, err := p.Store(ctx)
	if err != nil {
		return err
	}
	defer p.Closing("store", store.Close)
	definitions := map[string]*provider.Definition{}
	for _, s := range sources {
		definitions[s.Name] = s.Definition
	}
	if err := p.CheckKeys(ctx, store, definitions); err != nil {
		return err
	}
	alerts, flush := p.Alerts()
	defer flush()
	if t.keeper, err = p.Identity(ctx, t.streams, store, alerts, part); err != nil {
		return err
	}

	id := process.NewID()
	t.options = reconciler.Options{
		ID: id, Streams: t.streams, Store: store, LeaseTTL: p.Config.Redis.LeaseTTL, DedupeTTL: p.Config.Dedupe.TTL,
		RetainEvents: p.Config.Retention.Events, WithoutFeed: !p.Config.Feed.Enabled, FeedKeep: p.Config.Feed.Keep,
		TraceURL: telemetry.TraceURL(p.Config.Telemetry.TraceURL),
		Metrics:  p.Metrics, Health: p.Health, Alert: alerts.Raise, Logger: p.Logger.With("reconciler", id),
	}
	for _, s := range sources {
		t.options.Sources = append(t.options.Sources, reconciler.Source{
			Name: s.Name, Definition: s.Definition, Client: t.clients[s.Name], Settings: s.Reconcile, WebhookURL: s.WebhookURL, Writes: s.WriteKey != "", Outbox: s.Outbox,
			Rate: process.RateOf(s.Rate),
		})
	}
	if t.receivers, err = newReceivers(p.Config); err != nil {
		return err
	}
	defer t.receivers.close()
	t.options.Webhooks = t.receivers.webhooks(p.Config)
	if t.Reconciler, err = reconciler.New(t.options); err != nil {
		return err
	}
	return do(ctx, t)
}

// setRates applies the rates of reloaded settings.
func (t *tools) setRates(c *config.Config) error {
	for name, s := range c.Sources {
		t.SetRate(name, process.RateOf(s.Rate))
	}
	return nil
}
