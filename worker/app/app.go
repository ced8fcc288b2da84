// Package app wires a worker from its settings. Package worker does the work.
package app

import (
	"context"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage/open"
	"github.com/tarn-sync/tarn/worker"
)

// About is what --help says.
const About = `Takes its share of the shards, asks the provider what is true of each entity
that was signalled, and writes it to the mirror, in order and once. Run up to as
many as there are shards; they divide the work among themselves.
`

// GC is how a worker's garbage collector is set. What a worker far behind holds is some tens
// of megabytes: the usual 100 costs 7 MB more and saves no CPU, 50 saves 6 MB and costs a
// quarter more CPU.
var GC = process.GC{Percent: 75}

// Program is the worker as a program.
func Program() process.Program {
	return process.Program{Name: "worker", About: About, Run: Run, GC: GC}
}

// Run runs a worker until ctx ends. Health and metrics are served from the start,
// so that a worker that waits for Redis can be distinguished from one that hangs.
func Run(ctx context.Context, p *process.Process) error {
	return p.Probed(ctx, "http.worker_addr", p.Config.HTTP.WorkerAddr, func(ctx context.Context, probe *process.Probe) error {
		return work(ctx, p, probe)
	})
}

func work(ctx context.Context, p *process.Process, probe *process.Probe) error {
	sources, clients, err := sources(p.Config)
	if err != nil {
		return err
	}
	defer clients.Close()
	streams, err := p.Streams(ctx)
	if err != nil {
		return err
	}
	defer p.Closing("redis", streams.Close)
	clients.Budget(streams)
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
	keeper, err := p.Identity(ctx, streams, store, alerts, identity.Options{})
	if err != nil {
		return err
	}

	id, retry := process.NewID(), p.Config.Retry
	w, err := worker.New(worker.Options{
		ID: id, Streams: streams, Store: store, StoreSystem: open.System(string(p.Config.Store.URL)), Sources: sources,
		Retry:    fate.Backoff{First: retry.First, Factor: retry.Factor, Cap: retry.Cap, Attempts: retry.Attempts},
		LeaseTTL: p.Config.Redis.LeaseTTL, InFlight: p.Config.Worker.InFlight, WithoutFeed: !p.Config.Feed.Enabled,
		Metrics: p.Metrics, Health: p.Health, Alerts: alerts, Logger: p.Logger.With("worker", id),
	})
	if err != nil {
		return err
	}
	p.OnReload(clients.Reload)
	p.OnReload(func(c *config.Config) error { setRates(w, c); return nil })
	probe.Ready(process.Checks(streams, store, keeper))
	p.Logger.Info("joining the fleet", "worker", id)
	return keeper.Keep(ctx, w.Run)
}

// setRates applies the rates of reloaded settings.
func setRates(w *worker.Worker, c *config.Config) {
	for name, s := range c.Sources {
		w.SetRate(name, process.RateOf(s.Rate))
	}
}

// writerOf returns what returns the writer of a client, whose key a reload may bring.
func writerOf(client *process.Client) func() worker.Writer {
	return func() worker.Writer {
		if writer := client.Writer(); writer != nil {
			return writer
		}
		return nil
	}
}

func sources(c *config.Config) ([]worker.Source, process.Clients, error) {
	configured, err := process.Sources(c)
	if err != nil {
		return nil, nil, err
	}
	clients, err := process.NewClients(configured)
	if err != nil {
		return nil, nil, err
	}
	out := make([]worker.Source, len(configured))
	for i, s := range configured {
		out[i] = worker.Source{
			Name: s.Name, Definition: s.Definition, Client: clients[s.Name],
			Rate: process.RateOf(s.Rate), Concurrency: s.Rate.Concurrency,
		}
		if s.Definition.Writes() {
			out[i].Writer = writerOf(clients[s.Name])
		}
	}
	return out, clients, nil
}
