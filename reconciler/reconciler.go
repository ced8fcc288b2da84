package reconciler

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/erased"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Source is one configured account at a provider.
type Source struct {
	// Name is the source's name: "lemon".
	Name       string
	Definition *provider.Definition
	// Client asks the provider; *provider.Client is one.
	Client API
	// Rate is what the provider allows the whole fleet.
	Rate stream.Rate
	// Settings say what is checked how often.
	Settings config.Reconcile
	// Writes says that the source has a key for changes, so that it takes commands.
	Writes bool
	// Outbox says that applications may ask for changes by rows of their own.
	Outbox bool
	// WebhookURL is the address to which the provider should send this source's
	// webhooks. "": any subscribed address counts.
	WebhookURL string
}

// Options configure a reconciler.
type Options struct {
	// ID names this process, new at every start.
	ID      string
	Streams *stream.Streams
	Store   storage.Store
	Sources []Source
	// Webhooks are the receivers of changes.
	Webhooks []Webhook
	// LeaseTTL is the lifetime of a lease, as in Streams. Defaults to 5 s.
	LeaseTTL time.Duration
	// DedupeTTL is how long Redis remembers an event's id. Defaults to 1 h.
	DedupeTTL time.Duration
	// RetainEvents is how long the log keeps events. Zero: for ever.
	RetainEvents time.Duration
	// WithoutFeed: nothing is added to the change feed.
	WithoutFeed bool
	// FeedKeep is how long the change feed is kept. Defaults to 72 h.
	FeedKeep time.Duration
	// TraceURL is where the traces of commands are shown. "": nowhere.
	TraceURL telemetry.TraceURL
	// Parallel is how many partitions of one source this process works on at
	// once. Defaults to 4.
	Parallel int
	// Poll is how often the process looks for work and for the results of other
	// replicas. Defaults to 1 s.
	Poll    time.Duration
	Metrics *telemetry.Metrics
	Health  *telemetry.Health
	// Alert raises an alert. Nil: none are raised.
	Alert func(alert.Alert)
	// Logger defaults to slog.Default().
	Logger *slog.Logger
	// Now is the clock for stored times. Defaults to time.Now.
	Now func() time.Time
}

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.ID == "":
		return o, fmt.Errorf("reconciler: Options.ID is empty")
	case o.Streams == nil || o.Store == nil:
		return o, fmt.Errorf("reconciler: Options.Streams and Options.Store are needed")
	case len(o.Sources) == 0:
		return o, fmt.Errorf("reconciler: no sources: configure at least one under \"sources\"")
	case o.Metrics == nil:
		return o, fmt.Errorf("reconciler: Options.Metrics are needed")
	}
	if o.LeaseTTL <= 0 {
		o.LeaseTTL = 5 * time.Second
	}
	if o.DedupeTTL <= 0 {
		o.DedupeTTL = time.Hour
	}
	if o.FeedKeep <= 0 {
		o.FeedKeep = 72 * time.Hour
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.Alert == nil {
		o.Alert = func(alert.Alert) {}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}

// sayEvery is how often what many tasks say at once is logged.
const sayEvery = 10 * time.Second

// Reconciler is one replica.
type Reconciler struct {
	Options
	sources []*source
	// base is a finder without a source, for work that concerns all of them.
	base *finder
	// erased knows what operators have erased.
	erased *erased.Watch
	// pace is the pace of all finders.
	pace pace
	// runners run tasks that end, by kind.
	runners map[string]runner
	// sparing logs what one failure makes many tasks say.
	sparing *slog.Logger
}

// source is a Source with its current rate, which a reload may change.
type source struct {
	Source
	rate atomic.Pointer[stream.Rate]
	// condition and scopes are made with the first finder.
	condition *condition.Source
	scopes    *condition.Scopes
	once      sync.Once
}

// New returns a reconciler; Run starts it.
func New(o Options) (*Reconciler, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Reconciler{Options: o, pace: usualPace(), sparing: telemetry.Sparing(o.Logger, sayEvery, time.Now), erased: erased.NewWatch(o.Store)}
	for _, s := range o.Sources {
		if r.source(s.Name) != nil {
			return nil, fmt.Errorf("reconciler: source %q is configured twice", s.Name)
		}
		src := &source{Source: s}
		src.rate.Store(&s.Rate)
		r.sources = append(r.sources, src)
	}
	for _, to := range o.Webhooks {
		if r.source(to.Source) == nil || to.Client == nil {
			return nil, fmt.Errorf("reconciler: the webhook %q needs a configured source and a client", to.Name)
		}
	}
	r.base = r.finder(&source{}, nil)
	r.runners = map[string]runner{
		kindGaps: r.search, kindSweep: r.compare, kindBackfill: r.compare, kindVerify: r.compare,
		kindPartition: r.comparePart, kindRedrive: r.redrive, kindDiscard: r.discard, kindDiscardSource: r.discardSource,
		kindReread: r.reread, kindErase: r.erase, kindRestore: r.restore,
	}
	return r, nil
}

// SetRate changes the rate of a source for the whole fleet. It ignores a source
// that is not configured here.
func (r *Reconciler) SetRate(name string, rate stream.Rate) {
	if s := r.source(name); s != nil {
		s.rate.Store(&rate)
	}
}

func (r *Reconciler) source(name string) *source {
	for _, s := range r.sources {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// finder returns the finder of a source. loop may be nil; it is told what the
// finder waits for.
func (r *Reconciler) finder(s *source, loop *telemetry.Loop) *finder {
	f := &finder{
		name: s.Name, def: s.Definition, api: s.Client, store: r.Store, streams: r.Streams,
		rate: func() stream.Rate { return *s.rate.Load() }, settings: s.Settings, writes: s.Writes, retain: r.RetainEvents, owner: r.ID,
		now: r.Now, log: r.Logger, sparing: r.sparing, metrics: r.Metrics, pace: r.pace, loop: loop, alert: r.Alert, erased: r.erased,
	}
	s.once.Do(func() { s.condition, s.scopes = f.newCondition(), f.newScopes() })
	f.condition, f.scopes = s.condition, s.scopes
	return f
}

// waiting returns the base finder for a loop, which may be nil. The finder tells
// the loop when it waits for the store; otherwise the loop would look stuck while
// the store is away.
func (r *Reconciler) waiting(l *telemetry.Loop) *finder {
	f := *r.base
	f.loop = l
	return &f
}

// engine returns the engine of all sources. l may be nil; it is told what the
// engine waits for.
func (r *Reconciler) engine(l *telemetry.Loop) *engine {
	e := &engine{finders: map[string]*finder{}, marks: r.DedupeTTL, alarm: func(source, reason string) {
		r.Alert(alert.Alert{Kind: alert.Blocked, Source: source, Reason: reason})
	}}
	for _, s := range r.sources {
		e.finders[s.Name] = r.finder(s, l)
	}
	return e
}

// Run works until ctx ends, then releases its leases and returns. Other replicas
// continue its tasks from where these were last saved.
func (r *Reconciler) Run(ctx context.Context) {
	var all sync.WaitGroup
	start := func(name string, run loop) { all.Go(func() { r.keep(ctx, name, run) }) }
	for _, s := range r.sources {
		for kind, run := range r.standing(s) {
			start(kind+" "+s.Name, r.stand(kind, s.Name, run))
		}
		start("sweeps "+s.Name, r.taskQueue(s.Name, r.Parallel, kindSweep, kindBackfill, kindVerify, kindGaps))
		start("partitions "+s.Name, r.taskQueue(s.Name, r.Parallel, kindPartition))
	}
	for _, to := range r.Webhooks {
		start("deliver "+to.Name, r.startDelivery(to))
	}
	start("jobs", r.taskQueue("", r.Parallel, kindRedrive, kindDiscard, kindDiscardSource, kindReread, kindErase, kindRestore))
	start("schedule", r.schedule)
	start("queue", r.queue)
	all.Wait()
}

// standing returns the runners of a source's tasks that never end, by kind.
func (r *Reconciler) standing(s *source) map[string]runner {
	all := map[string]runner{kindRecover: r.recover, kindJudge: r.judge, kindSubscription: r.checkSubscriptions, kindStaleness: r.staleness}
	if s.Definition.EventList().Kept {
		all[kindGaps] = r.search
	}
	if s.Outbox {
		all[kindOutbox] = r.outbox
	}
	if !r.WithoutFeed {
		all[kindFeed] = r.sequence
	}
	return all
}
