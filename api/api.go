package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Options are the settings of New.
type Options struct {
	// Addr is where Run listens, "host:port". Defaults to "127.0.0.1:8080".
	Addr string
	// Sources are the sources whose webhooks are accepted; see SetSources.
	Sources []Source
	// Webhooks are the receivers of changes, to which the reconciler sends.
	Webhooks []OutgoingWebhook
	// Queue takes accepted events and holds the state of the fleet: a
	// *stream.Streams. Required.
	Queue Queue
	// Store answers /v1 and keeps what operators do: a storage.Store. Required.
	Store Store
	// Ready has checks of readiness beside that of Redis, by name.
	// May be nil.
	Ready map[string]telemetry.Check
	// Tokens give their holders access to /v1. Without tokens only requests from the
	// same machine have access; see ListenAddr.
	Tokens []Token
	// MaxBody is the largest webhook body accepted, in bytes. Defaults to 256 KiB.
	MaxBody int64
	// AppendTimeout is how long an event, or an operator's act, may take to become
	// durable before the answer is to try again. Defaults to 5 s: providers commonly
	// wait 10 s for an answer.
	AppendTimeout time.Duration
	// ReadTimeout is how long a whole request may take to arrive. Defaults to
	// 10 s.
	ReadTimeout time.Duration
	// Grace is how long requests under way may take when the server stops.
	// Defaults to 7 s, so that with the last flush a stop takes less than 10 s.
	Grace time.Duration
	// Metrics are the metrics. Nil makes them in a new registry.
	Metrics *telemetry.Metrics
	// Gatherer is what /metrics shows. Defaults to the new registry, or to
	// prometheus.DefaultGatherer if Metrics is given.
	Gatherer prometheus.Gatherer
	// Profiles answers below /debug/pprof/ and sees to it who may ask. Nil: there is no
	// such route.
	Profiles http.Handler
	// Health has the loops that /healthz reports. Nil makes one.
	Health *telemetry.Health
	// Tracer makes the spans. Defaults to the global provider's.
	Tracer trace.Tracer
	// TraceURL is the address of a trace in the program that shows them, with
	// {trace_id} in the place of its id. "": answers have no such address.
	TraceURL string
	// Logger takes warnings and errors. Defaults to slog.Default().
	Logger *slog.Logger
	// Now is the clock. Defaults to time.Now.
	Now func() time.Time
	// Version is the version in the OpenAPI document. Defaults to "dev".
	Version string
}

// setDefaults sets the fields that were left out.
func (o *Options) setDefaults() {
	def(&o.Addr, "127.0.0.1:8080")
	def(&o.MaxBody, 256<<10)
	def(&o.AppendTimeout, 5*time.Second)
	def(&o.ReadTimeout, 10*time.Second)
	def(&o.Grace, 7*time.Second)
	def(&o.Version, "dev")
	if o.Metrics == nil {
		own := prometheus.NewRegistry()
		o.Metrics, o.Gatherer = telemetry.NewMetrics(own), own
	}
	if o.Gatherer == nil {
		o.Gatherer = prometheus.DefaultGatherer
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Health == nil {
		o.Health = telemetry.NewHealth(o.Now)
	}
	if o.Tracer == nil {
		o.Tracer = otel.Tracer("github.com/tarn-sync/tarn/api")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// def sets v if it is its zero value.
func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// API is the HTTP side of Tarn. Make one with New.
type API struct {
	o       Options
	sources *accounts
	tally   *tally
	live    *live
	engine  *gin.Engine
	follow  *changes
	// leaving is closed when the server begins to stop.
	leaving chan struct{}
}

// New checks the options and builds the routes. Nothing runs before Run.
func New(o Options) (*API, error) {
	o.setDefaults()
	if o.Queue == nil || o.Store == nil {
		return nil, errors.New("api: a queue and a store are needed")
	}
	guard, err := newGuard(o.Tokens)
	if err != nil {
		return nil, fmt.Errorf("api: %w", err)
	}
	a := &API{
		o:       o,
		sources: &accounts{metrics: o.Metrics},
		tally:   newTally(o.Queue, o.Logger, o.Now),
		leaving: make(chan struct{}),
	}
	if err := a.SetSources(o.Sources); err != nil {
		return nil, err
	}
	if err := a.route(guard); err != nil {
		return nil, fmt.Errorf("api: build the OpenAPI document: %w", err)
	}
	return a, nil
}

// SetSources replaces all sources, for instance when secrets are reloaded. Requests
// under way finish with the sources they began with. On an error nothing changes.
func (a *API) SetSources(sources []Source) error {
	if err := a.sources.replace(sources); err != nil {
		return fmt.Errorf("api: %w", err)
	}
	return nil
}

// Handler returns all routes.
func (a *API) Handler() http.Handler { return a.engine }

func (a *API) route(g *guard) error {
	a.engine = newEngine(a.recovered)
	receive := &receiver{
		sources: a.sources, queue: a.o.Queue, bodies: newBodies(a.o.MaxBody), tally: a.tally,
		metrics: a.o.Metrics, tracer: a.o.Tracer, log: a.o.Logger, now: a.o.Now, deadlines: &deadlines{within: a.o.AppendTimeout},
	}
	a.engine.POST("/webhooks/:source", receive.serve)
	a.engine.POST("/webhooks/:source/:secret", receive.serve)
	a.engine.GET("/webhooks/:source", receive.challenged)
	a.engine.GET("/healthz", gin.WrapH(a.o.Health.Healthz()))
	a.engine.GET("/readyz", gin.WrapH(a.readyz()))
	a.engine.GET("/metrics", gin.WrapH(telemetry.MetricsHandler(a.o.Gatherer)))

	if a.o.Profiles != nil {
		a.engine.GET("/debug/pprof/*profile", gin.WrapH(a.o.Profiles))
	}

	ops := newOperations(a.engine, a.o.Version, &encoder{log: a.o.Logger, failures: a.o.Metrics.EncodeFailures})
	ops.UseMiddleware(bounded, g.check(ops), checkBody(ops))
	read := &reader{sources: a.sources, store: a.o.Store, queue: a.o.Queue, log: a.o.Logger, traces: telemetry.TraceURL(a.o.TraceURL), leaving: a.leaving, actors: actorsOf(a.o.Tokens)}
	act := &operator{reader: read, now: a.o.Now, tracer: a.o.Tracer, within: a.o.AppendTimeout}
	read.registerEntities(ops)
	read.registerFind(ops)
	act.registerSync(ops)
	act.registerErasures(ops)
	read.registerSyncs(ops)
	read.registerEvents(ops)
	act.registerEvents(ops)
	read.registerLetters(ops)
	act.registerLetters(ops)
	read.registerJobs(ops)
	act.registerJobs(ops)
	read.registerDiscrepancies(ops)
	read.registerSweeps(ops)
	act.registerSweeps(ops)
	act.registerSources(ops)
	read.registerAudit(ops)
	read.registerParked(ops)
	act.registerParked(ops)
	read.registerCommands(ops)
	act.registerCommands(ops)
	act.registerHolds(ops)
	read.registerRefs(ops)
	act.registerRefs(ops)
	fleet := newOverview(read, a.o.Now)
	fleet.register(ops)
	a.live = newLive(fleet, a.o.Version)
	a.live.register(ops)
	a.follow = newChanges(read, a.o)
	a.follow.register(ops)
	a.follow.registerSubscriptions(ops)
	(&steered{act, a.follow}).register(ops)
	documentPlain(ops)
	serveConsole(a.engine)
	return serveDocument(a.engine, ops)
}

// readyz reports whether webhooks can be accepted, which needs Redis. It also shows
// whether the store answers.
func (a *API) readyz() http.Handler {
	needed := map[string]telemetry.Check{"redis": a.o.Queue.Ping}
	maps.Copy(needed, a.o.Ready)
	return telemetry.Readyz(needed, map[string]telemetry.Check{"store": a.o.Store.Ping})
}

// newEngine is a router without the usual middleware: requests are counted and
// traced where it matters, and the stock recovery writes headers, which hold
// signatures and tokens, into the log.
func newEngine(recovered gin.HandlerFunc) *gin.Engine {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.UseEscapedPath, e.UnescapePathValues = true, false // gin would read + as a space
	e.RedirectTrailingSlash = false                      // senders do not follow redirects
	e.HandleMethodNotAllowed = true
	e.Use(recovered)
	e.NoRoute(plainProblem(http.StatusNotFound, "there is no such route; /docs lists them"))
	e.NoMethod(plainProblem(http.StatusMethodNotAllowed, "the route does not take this method"))
	return e
}

func plainProblem(status int, detail string) gin.HandlerFunc {
	why := &refusal{status: status, reason: "route", detail: detail}
	return func(c *gin.Context) { why.write(c.Writer) }
}

// recovered answers 500 for a handler that panicked and logs the stack. The server
// continues.
func (a *API) recovered(c *gin.Context) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		a.o.Logger.ErrorContext(c.Request.Context(), "handler panicked",
			"route", c.FullPath(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if !c.Writer.Written() {
			refusePanic.write(c.Writer)
		}
	}()
	c.Next()
}

// runLoops runs the loops of the api until ctx ends.
func (a *API) runLoops(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { a.live.run(ctx, a.o.Health.Loop("live")) })
	running.Go(func() { a.follow.consumers.run(ctx, a.o.Health.Loop("consumers")) })
	a.tally.run(ctx, a.o.Health.Loop("rejections"))
	running.Wait()
}
