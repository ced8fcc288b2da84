package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	apiapp "github.com/tarn-sync/tarn/api/app"
	"github.com/tarn-sync/tarn/deployments/simulator"
	reconcilerapp "github.com/tarn-sync/tarn/reconciler/app"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/telemetry"
	workerapp "github.com/tarn-sync/tarn/worker/app"
)

// run is everything until ctx ends.
func run(ctx context.Context, o options, out io.Writer) error {
	began := time.Now()
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return err
	}
	unlock, err := lock(dir)
	if err != nil {
		return err
	}
	defer unlock()
	level := &slog.LevelVar{} // info, until the settings say another
	log, closeLog, err := logger(dir, level)
	if err != nil {
		return err
	}
	defer closeLog()

	// Redis and the provider outlive ctx, until the api and the workers are done.
	ground, sink := context.WithCancel(context.WithoutCancel(ctx))
	defer sink()
	redis, stopRedis, err := startRedis(ground, filepath.Join(dir, "redis"), log.With("process", "redis"))
	if err != nil {
		return err
	}
	defer stopRedis()

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	simulated, stopSimulator, err := startSimulator(ground, o, dir, log.With("process", "simulator"), fail)
	if err != nil {
		return err
	}
	defer stopSimulator()

	c, err := config.Parse("standalone.yaml", looks[o.provider].settings, append(os.Environ(),
		"STANDALONE_ADDR="+o.addr, "STANDALONE_REDIS="+redis.addr,
		"STANDALONE_DATABASE="+filepath.Join(dir, "tarn.db"), "STANDALONE_SIMULATOR="+o.simulator))
	if err != nil {
		return err
	}
	if err := level.UnmarshalText([]byte(c.Log.Level)); err != nil {
		return err
	}
	process.LogLibraries(log)
	flush, err := telemetry.Start(ctx, telemetry.Options{
		Service: "tarn-standalone", Version: process.Version, Endpoint: c.Telemetry.OTLPEndpoint,
		SampleRatio: c.Telemetry.SampleRatio, Environ: os.Environ(), Logger: log,
	})
	if err != nil {
		return err
	}
	defer func() {
		last, cancel := context.WithTimeout(ground, time.Second)
		defer cancel()
		_ = flush(last) // a collector that is away is no reason to fail
	}()
	if err := remember(dir, addresses{API: c.HTTP.Addr, Simulator: o.simulator}); err != nil {
		return err
	}
	t := &tour{
		options: o, base: "http://" + c.HTTP.Addr, provider: "http://" + o.simulator, simulator: simulated, out: out, began: began,
	}
	err = parts(ctx, c, log, dir, t)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if errors.Is(err, context.Canceled) {
		err = nil // it was asked to stop, and did
	}
	return err
}

// parts runs the api, the workers and the reconciler until ctx ends or one of
// them fails.
func parts(ctx context.Context, c *config.Config, log *slog.Logger, dir string, t *tour) error {
	registry, health := prometheus.NewRegistry(), telemetry.NewHealth(time.Now)
	group, ctx := errgroup.WithContext(ctx)
	start := func(name string, run func(context.Context, *process.Process) error, settings config.Config) {
		p := process.New(name, &settings, io.Discard)
		p.Logger = log.With("process", name)
		p.Metrics = process.NewMetrics(name, &settings, prometheus.WrapRegistererWith(prometheus.Labels{"process": name}, registry))
		p.Gatherer, p.Health, p.Adopt = registry, health, t.options.adopt
		group.Go(func() error {
			if err := run(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	start("api", apiapp.Run, *c)
	behind := *c // the api's address is taken; theirs is in the log
	behind.HTTP.Addr, behind.HTTP.WorkerAddr, behind.HTTP.ReconcilerAddr = "127.0.0.1:0", "", ""
	start("worker-1", workerapp.Run, behind)
	start("worker-2", workerapp.Run, behind)
	start("reconciler", reconcilerapp.Run, behind)
	group.Go(func() error {
		if err := welcome(ctx, t, c, dir); err != nil || !t.options.troubles {
			return err
		}
		return t.run(ctx)
	})
	err := group.Wait()
	t.printf("stopped\n")
	return err
}

// startSimulator runs the provider until ctx ends. A failure of it is given to
// fail. When stop returns it is gone.
func startSimulator(ctx context.Context, o options, dir string, log *slog.Logger, fail context.CancelCauseFunc) (s *simulator.Simulator, stop func(), err error) {
	s, err = simulator.New(simulator.Options{
		Provider: o.provider, Data: filepath.Join(dir, "simulator"), Rate: o.rate, Seed: 1, APIKey: "standalone-api-key", WriteKey: "standalone-write-key", Log: log,
		WebhookURL: "http://" + o.addr + "/webhooks/" + o.provider, WebhookSecret: webhookSecret,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("simulator: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.simulator)
	if err != nil {
		return nil, nil, fmt.Errorf("simulator: %w (another address: --simulator-addr)", err)
	}
	life, end := context.WithCancel(ctx)
	group, life := errgroup.WithContext(life)
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: telemetry.ServerLog(log)}
	group.Go(func() error { return s.Run(life) })
	group.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	context.AfterFunc(life, func() { _ = server.Close() }) // no request comes any more
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			fail(fmt.Errorf("simulator: %w", err))
		}
	}()
	return s, func() { end(); <-done }, nil
}

// webhookSecret is the one in standalone.yaml.
const webhookSecret = "standalone-webhook-secret"

// lock makes sure that no other process runs on dir.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("another standalone runs on %s: stop it, or use another --dir", dir)
	}
	return func() { _ = f.Close() }, nil // closing releases it
}

// logger writes everything to tarn.log and what needs a human to stderr too.
func logger(dir string, level slog.Leveler) (log *slog.Logger, closeLog func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "tarn.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	log = slog.New(slog.NewMultiHandler(
		telemetry.NewLogger(f, level, telemetry.JSON).Handler(),
		telemetry.NewLogger(os.Stderr, slog.LevelError, telemetry.Text).Handler()))
	return log, func() { _ = f.Close() }, nil
}
