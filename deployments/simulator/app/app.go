// Package app runs the stand-in provider of package simulator as a program: its API
// under /v1, its controls under /_sim, its webhooks to one address.
package app

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/tarn-sync/tarn/deployments/simulator"
)

// Main runs it until a signal ends it, and returns the exit status.
func Main(args []string, version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, args, version)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(os.Stderr, "simulator:", err)
	return 1
}

// run serves until the context ends.
func run(ctx context.Context, args []string, version string) error {
	o, addr, err := options(args, version)
	if err != nil || addr == "" {
		return err
	}
	o.Log = slog.New(slog.NewJSONHandler(os.Stdout, nil))
	slog.SetDefault(o.Log) // net/http logs there
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s, err := simulator.New(o)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 10 * time.Second, Protocols: protocols(),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			cancel(fmt.Errorf("serve: %w", err))
		}
	}()
	o.Log.Info("simulator is up", "api", "http://"+listener.Addr().String()+"/v1", "webhooks_to", o.WebhookURL, "rate", o.Rate, "data", o.Data)
	err = s.Run(ctx)
	// The signal has ended ctx; those still being answered get a second.
	last, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer done()
	err = errors.Join(err, server.Shutdown(last))
	<-served
	return err
}

// protocols are HTTP/1 and, as the provider speaks it, HTTP/2, here without TLS.
func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// options reads the flags. An empty address means that there is nothing to run.
func options(args []string, version string) (o simulator.Options, addr string, err error) {
	f := flag.NewFlagSet("simulator", flag.ContinueOnError)
	f.StringVar(&addr, "addr", "127.0.0.1:8090", "`address` to serve on")
	f.StringVar(&o.Provider, "provider", simulator.Lemon, "`name` of the provider: lemon or stripe")
	f.BoolVar(&o.Thin, "thin", false, "of Stripe: send thin events in place of snapshots")
	f.StringVar(&o.Data, "data", "", "`directory` the world is kept in; none: in memory")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of the world")
	f.Float64Var(&o.Rate, "rate", 5, "events a second of the living world; 0: none")
	f.StringVar(&o.APIKey, "api-key", "", "bearer `key` the API wants, @FILE reads it from a file (or SIMULATOR_API_KEY); none: any")
	f.StringVar(&o.WriteKey, "write-key", "", "`key` the API wants of requests that change something, @FILE reads it from a file (or SIMULATOR_WRITE_KEY); none: the api-key")
	f.DurationVar(&o.KeepKeys, "keep-keys", 0, "how long idempotency keys are known; 0: as the provider does")
	f.StringVar(&o.WebhookURL, "webhook-url", "", "`address` every event is posted to")
	f.StringVar(&o.WebhookSecret, "webhook-secret", "", "`secret` webhooks are signed with, @FILE reads it from a file (or SIMULATOR_WEBHOOK_SECRET)")
	f.IntVar(&o.Parallel, "parallel", 64, "webhooks posted at once")
	f.IntVar(&o.KeepVersions, "keep-versions", 20, "versions kept per entity; -1: all")
	f.IntVar(&o.KeepEvents, "keep-events", 50000, "delivered events kept; -1: all")
	f.IntVar(&o.MaxEntities, "max-entities", 30000, "size the living world grows to; -1: no limit")
	f.Func("retries", "waits before each retry of a webhook, as `1s,5s,30s`", func(s string) (err error) {
		o.Retries, err = durations(s)
		return err
	})
	f.Func("chaos", "what goes wrong, as `JSON` like PUT /_sim/chaos takes: {\"duplicate\":0.1,\"max_delay\":\"2s\"}", func(s string) (err error) {
		o.Chaos, err = simulator.ReadChaos(strings.NewReader(s), simulator.Chaos{})
		return err
	})
	shown := f.Bool("version", false, "print the version")
	if err := f.Parse(args); err != nil {
		return o, "", err
	}
	// Not as defaults of the flags: --help would print them.
	o.APIKey = cmp.Or(o.APIKey, os.Getenv("SIMULATOR_API_KEY"))
	o.WriteKey = cmp.Or(o.WriteKey, os.Getenv("SIMULATOR_WRITE_KEY"))
	o.WebhookSecret = cmp.Or(o.WebhookSecret, os.Getenv("SIMULATOR_WEBHOOK_SECRET"))
	for _, value := range []*string{&o.APIKey, &o.WriteKey, &o.WebhookSecret} {
		if *value, err = secret(*value); err != nil {
			return o, "", err
		}
	}
	if *shown {
		fmt.Println(version)
		return o, "", nil
	}
	if f.NArg() > 0 {
		return o, "", fmt.Errorf("unknown argument %q; see --help", f.Arg(0))
	}
	return o, addr, nil
}

// secret returns a value as it is, and of @FILE the content of the file without its last
// newline.
func secret(value string) (string, error) {
	file, named := strings.CutPrefix(value, "@")
	if !named {
		return value, nil
	}
	text, err := os.ReadFile(file) //nolint:gosec // the operator named it
	return strings.TrimSuffix(string(text), "\n"), err
}

func durations(s string) ([]time.Duration, error) {
	all := []time.Duration{}
	for _, part := range strings.Split(s, ",") {
		d, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}
