package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/erased"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Fetcher asks a provider; *provider.Client is one.
type Fetcher interface {
	// Fetch asks for the current state of an entity; errors are classified.
	Fetch(ctx context.Context, ref event.Ref, why string) (*provider.Snapshot, error)
	// Probe asks something that any accepted caller may ask.
	Probe(ctx context.Context) error
}

// sayEvery is how often what many shards say at once is logged.
const sayEvery = 10 * time.Second

// Source is one configured account at a provider.
type Source struct {
	// Name is the source's name: "lemon".
	Name       string
	Definition *provider.Definition
	Client     Fetcher
	// Writer returns what sends changes with the key of that moment. It returns nil while
	// the source has no key for changes: its commands wait then. Nil: the source never
	// changes anything.
	Writer func() Writer
	// Rate is what the provider allows the whole fleet.
	Rate stream.Rate
	// Concurrency is how many syncs this worker runs at once. Defaults to 100.
	Concurrency int
}

// Options configure a worker.
type Options struct {
	// ID names this process, new at every start.
	ID      string
	Streams *stream.Streams
	Store   storage.Store
	// StoreSystem is what spans call the database: "mongodb", "sqlite". Defaults to
	// "other_sql".
	StoreSystem string
	Sources     []Source
	// Retry is the back-off of parked entities. Defaults: see fate.Backoff.
	Retry fate.Backoff
	// LeaseTTL is that of Streams; the worker looks for shards to take twenty
	// times as often. Defaults to 5 s.
	LeaseTTL time.Duration
	// InFlight is how many live entries of one source may be read and not yet acked
	// before those that wait for budget are spilled. The background is read while
	// live and background entries, without delayed ones, are below half of it, and
	// delayed ones below all of it. It may be exceeded by what all shards together
	// read at once, a fifth of it or 3,000 entries at most. Defaults to 20,000.
	InFlight int
	// Grace is how long syncs under way may take to finish when a shard is
	// handed over. Defaults to 5 s.
	Grace time.Duration
	// LagPauses are the pauses before a read that lags behind its event is
	// repeated. Defaults to 200 ms, 1 s, 5 s.
	LagPauses []time.Duration
	// Rewritten is how long a provider must go on answering without history
	// the mirror holds until its answer is taken for the truth. Defaults to
	// 10 minutes.
	Rewritten time.Duration
	// WithoutFeed: no hints are left for the change feed. The documents show what it
	// lacks all the same.
	WithoutFeed bool
	Metrics     *telemetry.Metrics
	Health      *telemetry.Health
	// Alerts raises alerts. Defaults to the log and the metric alone.
	Alerts *alert.Alerts
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Now is the clock for what is written down; it may jump. What is waited
	// for goes by monotonic clocks and by Redis'. Defaults to time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.ID == "":
		return o, fmt.Errorf("worker: Options.ID is empty")
	case o.Streams == nil || o.Store == nil:
		return o, fmt.Errorf("worker: Options.Streams and Options.Store are needed")
	case len(o.Sources) == 0:
		return o, fmt.Errorf("worker: no sources: configure at least one under \"sources\"")
	case o.Metrics == nil || o.Health == nil:
		return o, fmt.Errorf("worker: Options.Metrics and Options.Health are needed")
	}
	o.Retry = o.Retry.WithDefaults()
	if o.LeaseTTL <= 0 {
		o.LeaseTTL = 5 * time.Second
	}
	if o.InFlight <= 0 {
		o.InFlight = 20_000
	}
	if o.Grace <= 0 {
		o.Grace = 5 * time.Second
	}
	if o.LagPauses == nil {
		o.LagPauses = []time.Duration{200 * time.Millisecond, time.Second, 5 * time.Second}
	}
	if o.Rewritten <= 0 {
		o.Rewritten = 10 * time.Minute
	}
	if o.StoreSystem == "" {
		o.StoreSystem = "other_sql"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Alerts == nil {
		o.Alerts = alert.New(alert.Options{Metrics: o.Metrics, Logger: o.Logger, Now: o.Now})
	}
	return o, nil
}

// Worker is one member of the fleet.
type Worker struct {
	Options
	sources map[string]*source
	names   []string
	settler *settler
	lookout *lookout
	erased  *erased.Watch
	bells   *bells
	doubts  *doubts
	reading readRoom
	shared  shared
	started time.Time
	// storeRetry repeats calls of the store while it is away.
	storeRetry loops.Retry
	// sparing logs what one failure makes many shards say.
	sparing *slog.Logger

	place *stream.Member
	// live are the live workers that fair, our share of the shards, was worked out for.
	live []string
	fair []int
	// members is how many live workers there are.
	members atomic.Int64

	mu     sync.Mutex
	shards map[int]*shard
	// fenced are the leases that ended with stream.ErrFenced, the last of each shard.
	fenced   map[int]*stream.Lease
	setbacks map[int]setback

	// knowsStates is closed, by statesRead, once the states of all sources were read.
	knowsStates chan struct{}
	statesRead  func()
	// woken counts the entries that woke a shard.
	woken atomic.Int64

	// unsent are the attempts at commands that were begun and surely not sent yet, by name.
	unsent sync.Map

	flags flags
	// undefined are the undefined kinds that have been logged: "source/kind".
	undefined sync.Map
}

// New returns a worker; Run starts it.
func New(o Options) (*Worker, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &Worker{
		Options: o, sources: map[string]*source{}, started: time.Now(), place: o.Streams.Member(o.ID),
		shards: map[int]*shard{}, fenced: map[int]*stream.Lease{}, setbacks: map[int]setback{},
		knowsStates: make(chan struct{}),
	}
	w.statesRead = sync.OnceFunc(func() { close(w.knowsStates) })
	w.settler, w.lookout, w.erased, w.bells = newSettler(w), newLookout(w), erased.NewWatch(o.Store), newBells(w)
	w.doubts = newDoubts(w)
	w.reading = newReadRoom(o.InFlight)
	w.sparing = telemetry.Sparing(o.Logger, sayEvery, time.Now)
	w.storeRetry = storeRetry(o, w.sparing)
	for _, s := range o.Sources {
		if w.sources[s.Name] != nil {
			return nil, fmt.Errorf("worker: source %q is configured twice", s.Name)
		}
		w.sources[s.Name] = newSource(w, s)
		w.names = append(w.names, s.Name)
		o.Metrics.SourcePaused.WithLabelValues(s.Name).Set(0) // until its state is read
	}
	return w, nil
}

// mayWrite reports whether any source may change anything at its provider, now or once it
// has a key for that.
func (w *Worker) mayWrite() bool {
	for _, s := range w.sources {
		if s.Source.Writer != nil {
			return true
		}
	}
	return false
}

// writes reports whether any source has a key for changes now.
func (w *Worker) writes() bool {
	for _, s := range w.sources {
		if s.writer() != nil {
			return true
		}
	}
	return false
}

// SetRate changes what a source's provider allows the fleet. It ignores an unknown
// source.
func (w *Worker) SetRate(source string, r stream.Rate) {
	if s := w.sources[source]; s != nil {
		s.rate.Store(&r)
	}
}

// Run works until ctx ends, then hands over all shards and returns nil. If ctx ends by an identity.ErrMismatch,
// entries in flight are dropped instead, neither finished nor acked. Run may be
// called again then.
func (w *Worker) Run(ctx context.Context) error {
	// What is under way when ctx ends is finished, not cut off: it runs under a
	// context of its own, ended at the end of the handover.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), identity.ErrMismatch) {
			stop() // finishing would write it where it does not belong
		}
	})()

	var g sync.WaitGroup
	g.Go(func() { w.keep(work, "settler", func() { w.settler.run(work) }, w.startAllOver) })
	g.Go(func() { w.keep(work, "leases", func() { renewer{w}.run(work) }, w.startAllOver) })
	g.Go(func() { w.keep(work, "erased", func() { w.watchErased(work) }, func() {}) })
	g.Go(func() { w.keep(work, "sources", func() { w.lookout.run(work) }, func() {}) })
	g.Go(func() { w.keep(work, "bells", func() { w.bells.run(work) }, func() {}) })
	g.Go(func() { w.keep(work, "doubts", func() { w.doubts.run(work) }, func() {}) })
	for _, s := range w.sources {
		g.Go(func() { w.keep(work, "source "+s.Name, func() { s.run(work) }, w.startAllOver) })
	}
	w.keep(ctx, "member", func() { w.member(ctx, work) }, func() {})
	w.handoverAll(work)
	w.bells.last(work)
	w.doubts.last(work)
	stop()
	g.Wait()
	leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if lerr := w.place.Leave(leave); lerr != nil {
		w.Logger.Warn("could not leave the fleet; others notice within a lease's time", "error", lerr)
	}
	return nil
}
