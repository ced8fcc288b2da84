// Package app builds the api from its settings.
package app

import (
	"context"
	"errors"
	"log/slog"

	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/api"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// About is what --help says.
const About = `Receives webhooks (POST /webhooks/{source}) and answers them once their event is
durable in Redis; serves the mirror, the event log and what operators do under
/v1. Run as many as you like.
`

// GC is how the api's garbage collector is set. An api that only receives uses a few
// megabytes, and collected dozens of times a second at the usual 100: 16 MB of garbage
// spare it that. One with a thousand streams of changes uses fifty, and keeps less garbage
// than that.
var GC = process.GC{Percent: 50, Room: 16 << 20}

// Program is the api as a program.
func Program() process.Program {
	return process.Program{Name: "api", About: About, Run: Run, GC: GC}
}

// Run runs the api until ctx ends.
func Run(ctx context.Context, p *process.Process) error {
	tokens := tokens(p.Config)
	// Before any connection, so that a wrong setting is reported at once.
	addr, err := listenAddr(p, tokens)
	if err != nil {
		return err
	}
	configured, err := process.Sources(p.Config)
	if err != nil {
		return err
	}
	sources, err := sources(configured, p.Config)
	if err != nil {
		return err
	}
	warnOfUnsigned(p.Logger, configured)
	streams, err := p.StreamsSeen(ctx, addr)
	if err != nil {
		return err
	}
	defer p.Closing("redis", streams.Close)

	store := &lateStore{}
	a, err := api.New(api.Options{
		Addr: addr, Sources: sources, Queue: tiedQueue{streams, &store.tie}, Store: store, Tokens: tokens,
		Ready:   map[string]telemetry.Check{"identity": store.tie.check},
		MaxBody: int64(p.Config.Webhook.MaxBody), AppendTimeout: p.Config.Webhook.Timeout, ReadTimeout: p.Config.HTTP.ReadTimeout,
		Metrics: p.Metrics, Gatherer: p.Gatherer, Profiles: p.Profiles(), Health: p.Health, Logger: p.Logger, TraceURL: p.Config.Telemetry.TraceURL,
		Version: process.Version, Webhooks: webhooks(p.Config),
	})
	if err != nil {
		return err
	}
	p.OnReload(func(c *config.Config) error { return reload(a, configured, c) })
	p.Logger.Info("listening", "addr", addr)
	return serve(ctx, p, a, streams, store, configured)
}

// listenAddr returns where the api listens. It logs a warning if that is not the address
// in the settings: webhooks from elsewhere would never arrive.
func listenAddr(p *process.Process, tokens []api.Token) (string, error) {
	addr, err := api.ListenAddr(p.Config.HTTP.Addr, tokens)
	if err == nil && addr != p.Config.HTTP.Addr {
		p.Logger.Warn("no operator_tokens are set: only this machine can reach the api; set at least one to open it", "addr", addr)
	}
	return addr, err
}

// warnOfUnsigned logs the sources whose webhooks nothing but a secret in the address
// protects.
func warnOfUnsigned(log *slog.Logger, sources []process.Source) {
	for _, s := range sources {
		if s.Definition.Signature().InPath() {
			log.Warn("webhooks of this source are not signed: its address is the secret, and every log and proxy on the way may show it",
				"source", s.Name, "path", "/webhooks/"+s.Name+"/SECRET")
		}
	}
}

// serve runs the api and the store until ctx ends. It closes the store last: requests
// under way still read from it.
func serve(ctx context.Context, p *process.Process, a *api.API, streams *stream.Streams, store *lateStore, sources []process.Source) error {
	group, ctx := errgroup.WithContext(ctx)
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error {
		if err := store.connect(connected, p, streams); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil // stopped before it ever answered
	})
	group.Go(func() error {
		rememberSources(ctx, p.Logger, streams, &store.tie, sources)
		return nil
	})
	group.Go(func() error {
		defer disconnect()
		return a.Run(ctx)
	})
	return group.Wait()
}

// reload applies the secrets and rates of reloaded settings.
func reload(a *api.API, configured []process.Source, c *config.Config) error {
	sources, err := sources(configured, c)
	if err != nil {
		return err
	}
	return a.SetSources(sources)
}

// sources returns the configured sources with the settings that c has for them.
func sources(configured []process.Source, c *config.Config) ([]api.Source, error) {
	out := make([]api.Source, len(configured))
	for i, s := range configured {
		s = s.Reloaded(c)
		verifier, err := s.Verifier(c.Webhook.Tolerance)
		if err != nil {
			return nil, err
		}
		out[i] = api.Source{
			Name: s.Name, Provider: s.Definition, Verifier: verifier, SecretInPath: s.Definition.Signature().InPath(), Writes: s.WriteKey != "",
			Ack:  api.Ack{Accepted: s.Ack.Accepted, Duplicate: s.Ack.Duplicate},
			Rate: process.RateOf(s.Rate),
		}
	}
	return out, nil
}

func webhooks(c *config.Config) []api.OutgoingWebhook {
	out := make([]api.OutgoingWebhook, len(c.Webhooks))
	for i, w := range c.Webhooks {
		out[i] = api.OutgoingWebhook{Name: w.Name, Source: w.Source, Kinds: w.Kinds, Types: w.Types}
	}
	return out
}

func tokens(c *config.Config) []api.Token {
	out := make([]api.Token, len(c.OperatorTokens))
	for i, t := range c.OperatorTokens {
		out[i] = api.Token{Name: t.Name, Secret: string(t.Token), Role: api.Role(t.Role)}
	}
	return out
}
