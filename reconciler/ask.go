package reconciler

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/erased"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/shared/witness"
)

// API makes the calls to a provider; *provider.Client is one.
type API interface {
	// Fetch asks for the current state of an entity.
	Fetch(ctx context.Context, ref event.Ref, why string) (*provider.Snapshot, error)
	// ListPage asks for one page of the entities of a kind.
	ListPage(ctx context.Context, key provider.ListKey, cursor, why string) (*provider.ListPage, error)
	// EventsPage asks for one page of the events the provider has kept.
	EventsPage(ctx context.Context, key provider.EventsKey, since time.Time, cursor, why string) (*provider.EventsPage, error)
	// Webhooks asks for the webhooks the provider sends.
	Webhooks(ctx context.Context, why string) ([]provider.Webhook, error)
	// Probe asks something that any accepted caller may ask.
	Probe(ctx context.Context) error
}

// triesPerCall is how often a call may fail by the provider's fault while the source
// as a whole answers. After that the call is given up.
const triesPerCall = 5

// pace has the pauses of the package. Tests use shorter ones.
type pace struct {
	// poll is how often Redis is asked again for a decision of the fleet.
	poll time.Duration
	// backoff is the pause after the first failure; each further one doubles.
	backoff time.Duration
	// patience is how long a missing event may still be on its way.
	patience time.Duration
	// keep is how often progress is saved.
	keep time.Duration
	// stalled is how long a backfill waits for workers that make no progress. Its
	// signals are safe in their streams when it gives up.
	stalled time.Duration
	// secondLook is how long after its first look a job that erases looks again.
	secondLook time.Duration
	// round is the pause between two rounds of the sequencer, look how often it looks
	// through the store.
	round, look time.Duration
	// outbox is how often an outbox is read. The bell of the database only makes it sooner.
	outbox time.Duration
	// heard is how often the head of a feed is read for a webhook where the database rings
	// when there is more; round, where it does not.
	heard time.Duration
}

func usualPace() pace {
	return pace{poll: 250 * time.Millisecond, backoff: time.Second, patience: time.Second, keep: 2 * time.Second, stalled: 2 * time.Minute, secondLook: usualSecondLook,
		round: 50 * time.Millisecond, look: 30 * time.Second, outbox: 500 * time.Millisecond, heard: 500 * time.Millisecond}
}

// finder has what a search for differences of one source needs.
type finder struct {
	name     string
	def      *provider.Definition
	api      API
	store    storage.Store
	streams  *stream.Streams
	rate     func() stream.Rate
	settings config.Reconcile
	// writes says that the source has a key for changes.
	writes bool
	// retain is how long the log keeps events. Zero: for ever.
	retain time.Duration
	// owner names this process in pauses.
	owner   string
	now     func() time.Time
	log     *slog.Logger
	sparing *slog.Logger
	metrics *telemetry.Metrics
	pace    pace
	// erased knows what operators have erased. Nil: nothing.
	erased *erased.Watch
	// condition is the condition of the source, shared by all its callers in this
	// process.
	condition *condition.Source
	// scopes knows which scopes of the source refuse us, shared likewise. Nil: it has
	// none.
	scopes *condition.Scopes
	// alert raises an alert. May be nil.
	alert func(alert.Alert)
	// loop is told that work goes on, and what it waits for. May be nil.
	loop *telemetry.Loop

	// onPause is called at each wait for a paused source. May be nil.
	onPause func(condition.State)

	// bucket is an extra budget, shared by all replicas that work on the same
	// sweep, and bucketRate its rate. "": there is none.
	bucket     string
	bucketRate stream.Rate
}

// limited returns a finder that makes at most perSecond calls a second, together with
// all finders of that name in the fleet. 0: only the budget of the source limits it.
func (f *finder) limited(name string, perSecond float64) *finder {
	if perSecond <= 0 {
		return f
	}
	own := *f
	own.bucket = name
	own.bucketRate = stream.Rate{Limit: 1, Per: time.Duration(float64(time.Second) / perSecond)}
	return &own
}

// verifyEvery is how old an unverified document of a kind may grow.
func (f *finder) verifyEvery(kind string) time.Duration {
	if k, ok := f.settings.Kinds[kind]; ok && k.VerifyEvery > 0 {
		return k.VerifyEvery
	}
	return 24 * time.Hour
}

// kinds returns the names of all kinds of the provider.
func (f *finder) kinds() (names []string) {
	for _, k := range f.def.Kinds() {
		names = append(names, k.Name)
	}
	return names
}

// request is one question to the provider.
type request[T any] struct {
	kind  string // for the metric
	class event.Class
	do    func(context.Context) (T, error)
}

// ask makes a call within the source's budget. While the source as a whole is down, it
// waits and asks again, which may take days. It returns an error that concerns this call
// alone, or one of ctx. It adds the calls sent to calls.
func ask[T any](ctx context.Context, f *finder, calls *int64, q request[T]) (T, error) {
	var none T
	failed := new(condition.Streak) // also identifies the question
	for {
		if err := f.token(ctx, q.class); err != nil {
			return none, err
		}
		v, err := q.do(ctx)
		if ctx.Err() != nil {
			return none, ctx.Err()
		}
		*calls++
		f.loop.Turn()
		f.metrics.Fetches.WithLabelValues(f.name, q.kind, q.class.String(), fate.StatusOf(err)).Inc()
		if !fate.Is(err, fate.Throttled) {
			f.condition.Throttle.Answered(failed)
		}
		if err == nil {
			return v, nil
		}
		again, wait := f.mayAskAgain(ctx, err, failed)
		if !again {
			return none, err
		}
		if !loops.Sleep(ctx, wait) {
			return none, ctx.Err()
		}
	}
}

// token waits for one token of the budget, also while the source is paused.
func (f *finder) token(ctx context.Context, class event.Class) error {
	start := f.now()
	for f.bucket != "" {
		f.loop.Waiting("the budget of " + f.bucket)
		g, err := f.streams.Take(ctx, f.bucket, event.Live, 1, f.bucketRate)
		if err == nil && g.Tokens > 0 {
			break
		}
		wait := f.pace.poll
		if err == nil {
			wait = min(wait, max(g.Wait, time.Millisecond))
		}
		if !loops.Sleep(ctx, wait) {
			return ctx.Err()
		}
	}
	for {
		asked := time.Now()
		g, err := f.streams.Take(ctx, f.name, class, 1, f.rate())
		if err == nil {
			f.condition.See(g.Source, asked)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && g.Tokens > 0:
			f.metrics.BudgetWait.WithLabelValues(f.name, class.String()).Observe(f.now().Sub(start).Seconds())
			return nil
		case err == nil && g.Source.Paused:
			if f.onPause != nil {
				f.onPause(g.Source)
			}
			f.condition.TryResume(ctx, g.Source) // workers do too, but there may be none
		}
		f.loop.Waiting("the budget of " + f.name)
		wait := f.pace.poll
		if err == nil && !g.Source.Paused {
			wait = min(wait, max(g.Wait, time.Millisecond))
		}
		if !loops.Sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// mayAskAgain decides about a call that failed: whether to ask again, and
// after how long.
func (f *finder) mayAskAgain(ctx context.Context, err error, failed *condition.Streak) (again bool, wait time.Duration) {
	if errors.Is(err, provider.ErrSmaller) {
		f.log.Info("a page of a list is too long; smaller ones are asked for", "source", f.name, "error", err)
		return true, 0
	}
	_, asked := fate.Of(err)
	failure := fate.Failure{Err: err}
	decision := fate.Decide(failure)
	if decision.Do == fate.Ask {
		failure.Answer = fate.AnswerOf(f.consult(ctx, decision.Question, err, failed))
		decision = fate.Decide(failure)
	}
	switch {
	case decision.Do == fate.Wait && decision.Until == fate.SourceWell:
		return true, 0
	case decision.Do == fate.Park && decision.Until == fate.ItsTurn:
		if asked > f.condition.Pauses.Longest {
			return false, 0 // the next sweep tries again
		}
		if f.isDown(ctx, failed) {
			return true, 0
		}
	case decision.Do == fate.Retry:
	default:
		return false, 0
	}
	return failed.Len() < triesPerCall, max(asked, f.pace.backoff<<(failed.Len()-1))
}

// consult answers the question on which the fate of a failed call depends, by asking
// the source.
func (f *finder) consult(ctx context.Context, q fate.Question, err error, failed *condition.Streak) bool {
	switch {
	case q != fate.Believable && fate.IsAlone(err):
		failed.Fail()
		return false
	case q == fate.Down:
		return f.isDown(ctx, failed)
	case q == fate.Overasked:
		return f.condition.Overasked(ctx, failed, err, f.condition.Prober.Ask)
	}
	return f.condition.IsIll(ctx, f.condition.Prober.Ask)
}

// isDown counts a failure of a call. From the third on it asks whether the source is
// down; if it is, the count starts again.
func (f *finder) isDown(ctx context.Context, failed *condition.Streak) bool {
	if !failed.Fail() || !f.condition.IsIll(ctx, f.condition.Prober.Ask) {
		return false
	}
	failed.End()
	return true
}

// newCondition returns the condition of the finder's source, as this process sees it.
// All finders of the source share it.
func (f *finder) newCondition() *condition.Source {
	return condition.New(condition.Options{
		Name: f.name, By: f.owner, Fleet: f.streams, Logger: f.log,
		Probe:      func(ctx context.Context) error { return f.api.Probe(ctx) },
		ProbeEvery: f.pace.poll, Pauses: condition.Pauses{First: f.pace.backoff},
		Answering: func(ctx context.Context, kinds []string) (bool, error) { return f.witnesses().Changed(ctx, kinds) },
		Changed: func(_, now condition.State) {
			if now.Paused && now.By == f.owner {
				f.log.Info("source paused", "source", f.name, "kind", string(now.Kind), "reason", now.Reason, "until", now.Until)
			}
		},
	})
}

// witnesses returns the entities of the mirror that can show which account is asked.
func (f *finder) witnesses() *witness.Witnesses {
	return &witness.Witnesses{Source: f.name, Definition: f.def, API: f.api, Mirror: f.store, Accounts: f.streams}
}
