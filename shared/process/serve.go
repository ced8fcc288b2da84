package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/problems"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Probe is the small HTTP server of a process that serves nothing else:
// /healthz, /readyz, /metrics and, if asked for, profiles.
type Probe struct {
	process *Process
	checks  atomic.Pointer[map[string]telemetry.Check]
	listen  net.Listener
	// rest answers every other path. Nil: there is none, a 404.
	rest http.Handler
}

// Listen opens an address of the settings, which key names. Until Ready is
// called /readyz says that the process is starting, so that one that waits for
// Redis can be seen waiting.
func (p *Process) Listen(ctx context.Context, key, addr string) (*Probe, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, p.Config.Problem(key, "%s is in use by another process of this host: give each one an address of its own "+
			"(http.addr, http.worker_addr, http.reconciler_addr; further ones of a kind by their environment, as in TARN_HTTP__WORKER_ADDR): %w", addr, err)
	}
	if err != nil {
		return nil, p.Config.Problem(key, "%w", err)
	}
	probe := &Probe{process: p, listen: l}
	probe.Ready(map[string]telemetry.Check{"start": func(context.Context) error {
		return errors.New("starting")
	}})
	return probe, nil
}

// Addr is the address it listens on.
func (s *Probe) Addr() string { return s.listen.Addr().String() }

// Ready sets what must answer for the process to be ready.
func (s *Probe) Ready(checks map[string]telemetry.Check) { s.checks.Store(&checks) }

// Serve serves until ctx ends.
func (s *Probe) Serve(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", s.process.Health.Healthz())
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		telemetry.Readyz(*s.checks.Load(), nil).ServeHTTP(w, r)
	})
	mux.Handle("GET /metrics", telemetry.MetricsHandler(s.process.Gatherer))
	if profiles := s.process.Profiles(); profiles != nil {
		mux.Handle(ProfilesPath, profiles)
	}
	if s.rest != nil {
		mux.Handle("/", s.rest)
	}
	timeout := s.process.Config.HTTP.ReadTimeout
	server := &http.Server{
		Handler: problems.Plain(mux), ReadHeaderTimeout: timeout, ReadTimeout: timeout, WriteTimeout: 3 * timeout, IdleTimeout: time.Minute,
		ErrorLog: telemetry.ServerLog(s.process.Logger),
	}

	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // probes and scrapes come again
	defer stop()
	if err := server.Serve(s.listen); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve health and metrics: %w", err)
	}
	return nil
}

// retryAfterStart is how many seconds a client that came too early is asked to
// wait: a Redis that is away is usually back within a failover.
const retryAfterStart = 5

// starting answers every route until the process has started. A 404 would be for
// good: providers stop sending webhooks to an address that has none, while 503 is
// what they repeat.
func starting(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Retry-After", strconv.Itoa(retryAfterStart))
	h.Set("Connection", "close") // the next request may find the server that comes after this one
	problems.Send(w, http.StatusServiceUnavailable,
		problems.New(http.StatusServiceUnavailable, problems.Starting, "the process is starting: it waits for redis or the store; try again"))
}

// StreamsSeen connects to Redis as Streams does, and serves health and metrics
// while it waits: for a process whose own server starts only afterwards, on
// the same addr. Everything else is answered 503 until then.
func (p *Process) StreamsSeen(ctx context.Context, addr string) (*stream.Streams, error) {
	probe, err := p.Listen(ctx, "http.addr", addr)
	if err != nil {
		return nil, err
	}
	probe.rest = http.HandlerFunc(starting)
	waiting, end := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- probe.Serve(waiting) }()
	streams, err := p.Streams(ctx)
	end()
	if serr := <-served; err == nil && serr != nil {
		p.Closing("redis", streams.Close)
		return nil, serr
	}
	return streams, err
}

// Probed serves health and metrics on own, an address of the settings that key
// names, or on http.addr if it is empty. It runs run beside them, until ctx ends
// or one of the two fails.
func (p *Process) Probed(ctx context.Context, key, own string, run func(context.Context, *Probe) error) error {
	if own == "" {
		key, own = "http.addr", p.Config.HTTP.Addr
	}
	probe, err := p.Listen(ctx, key, own)
	if err != nil {
		return err
	}
	p.Logger.Info("listening", "addr", probe.Addr())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return probe.Serve(ctx) })
	group.Go(func() error { return run(ctx, probe) })
	return group.Wait()
}
