package reconciler

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/probe"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// API makes the calls to a provider; *provider.Client is one.
type API interface {
	// Fetch asks for the current state of an entity.
	Fetch(ctx context.Context, ref event.Ref, why string) (*provider.Snapshot, error)
	// ListPage asks for one page of the entities of a kind.
	ListPage(ctx context.Context, key provider.ListKey, cursor, why string) (*provider.ListPage, error)
	// EventsPage asks for one page of the events the provider has kept.
	EventsPage(ctx context.Context, source string, since time.Time, cursor, why string) (*provider.EventsPage, error)
	// Webhooks asks for the webhooks the provider sends.
	Webhooks(ctx context.Context, why string) ([]provider.Webhook, error)
	// Probe asks something that any accepted caller may ask.
	Probe(ctx context.Context) error
}

const (
	// triesPerCall is how often a call may fail by the provider's fault while the
	// source as a whole answers. After that the call is given up.
	triesPerCall = 5
	// suspectAfter is after how many failures the probe path is asked whether
	// the source is down.
	suspectAfter = 3
	// probeWithin is how long one process may take to probe for the fleet.
	probeWithin = 15 * time.Second
)

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
}

func usualPace() pace {
	return pace{poll: 250 * time.Millisecond, backoff: time.Second, patience: time.Second, keep: 2 * time.Second, stalled: 2 * time.Minute}
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
	// retain is how long the log keeps events. Zero: for ever.
	retain time.Duration
	// owner names this process in pauses.
	owner   string
	now     func() time.Time
	log     *slog.Logger
	metrics *telemetry.Metrics
	pace    pace
	// prober and throttle are shared by all callers of the source in this process.
	prober   *probe.Prober
	throttle *probe.Throttle
	// alert raises an alert. May be nil.
	alert func(alert.Alert)
	// loop is told that work goes on, and what it waits for. May be nil.
	loop *telemetry.Loop

	// onPause is called at each wait for a paused source. May be nil.
	onPause func(stream.SourceState)

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
	failed := new(int) // also identifies the question
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
		f.metrics.Fetches.WithLabelValues(f.name, q.kind, q.class.String(), statusOf(err)).Inc()
		if !fate.Is(err, fate.Throttled) {
			f.throttle.Answered(failed)
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
		g, err := f.streams.Take(ctx, f.name, class, 1, f.rate())
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
			f.probe(ctx, g.Source)
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

// probe ends a pause whose time has come, if Redis gives this process the right to
// probe. Redis, whose clock the pause goes by, decides whether the time has come.
// Workers do the same, but none may be running.
func (f *finder) probe(ctx context.Context, state stream.SourceState) {
	if state.Until.IsZero() {
		return
	}
	right, err := f.streams.TakeProbe(ctx, f.name, probeWithin)
	if err != nil || right == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeWithin)
	defer cancel()
	if err := f.prober.Fresh(ctx); err != nil {
		f.pause(ctx, err)
		return
	}
	if len(state.Witnesses) > 0 {
		changed, err := f.witnesses().Changed(ctx, state.Witnesses)
		if err != nil {
			f.log.Warn("could not find out whether the right account is asked", "source", f.name, "error", err)
		}
		if !changed {
			f.pauseAs(ctx, fate.Pause{Kind: state.Kind, For: f.pauses().Length(state.Strikes), Reason: state.Reason, Witnesses: state.Witnesses})
			return
		}
	}
	_, _ = f.streams.EndProbe(ctx, f.name, right) // the next probe tries again
	f.prober.Forget()
}

// mayAskAgain decides about a call that failed: whether to ask again, and
// after how long.
func (f *finder) mayAskAgain(ctx context.Context, err error, failed *int) (again bool, wait time.Duration) {
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
		if asked > f.pauses().Longest {
			return false, 0 // the next sweep tries again
		}
		if f.isDown(ctx, failed) {
			return true, 0
		}
	case decision.Do == fate.Retry:
	default:
		return false, 0
	}
	return *failed < triesPerCall, max(asked, f.pace.backoff<<(*failed-1))
}

// consult answers the question on which the fate of a failed call depends, by asking
// the source.
func (f *finder) consult(ctx context.Context, q fate.Question, err error, failed *int) bool {
	switch q {
	case fate.Down:
		return f.isDown(ctx, failed)
	case fate.Overasked:
		return f.isIll(ctx) || f.overasked(ctx, err, failed)
	}
	return f.isIll(ctx)
}

// isDown counts a failure of a call. From the third on it asks whether the source is
// down; if it is, the count starts again.
func (f *finder) isDown(ctx context.Context, failed *int) bool {
	*failed++
	if *failed < suspectAfter || !f.isIll(ctx) {
		return false
	}
	*failed = 0
	return true
}

// isIll asks the probe path whether the source as a whole gives bad answers. If it
// does, isIll pauses the source.
func (f *finder) isIll(ctx context.Context) bool {
	err := f.prober.Ask(ctx)
	if err != nil {
		f.pause(ctx, err)
	}
	return err != nil
}

// overasked pauses the source if it gets too many calls, although the probe path, which
// may have no limit, does not say so: another question was answered 429 too, and none
// was answered otherwise since. which identifies the question.
func (f *finder) overasked(ctx context.Context, err error, which *int) bool {
	if !f.throttle.Another(which) {
		return false
	}
	_, asked := fate.Of(err)
	d := min(max(asked, f.pauses().Length(0)), f.pauses().Longest)
	f.pauseAs(ctx, fate.NewPause(fate.PausedThrottled, d, err.Error()))
	return true
}

// pauses is how long pauses last for which the provider gave no time.
func (f *finder) pauses() fate.Pauses { return fate.Pauses{First: f.pace.backoff}.WithDefaults() }

// pause pauses the source for the fleet after a probe failed.
func (f *finder) pause(ctx context.Context, probe error) {
	if ctx.Err() != nil {
		return
	}
	state, err := f.streams.Source(ctx, f.name)
	if err != nil {
		return // redis is away: no process gets a token either
	}
	f.pauseAs(ctx, f.pauses().After(probe, state.Strikes))
}

// pauseAs pauses the source for the fleet.
func (f *finder) pauseAs(ctx context.Context, p fate.Pause) {
	if err := f.streams.PauseAs(ctx, f.name, p, f.owner); err != nil {
		f.log.Warn("could not pause a source", "source", f.name, "reason", p.Reason, "error", err)
		return
	}
	f.log.Warn("source paused", "source", f.name, "kind", string(p.Kind), "reason", p.Reason, "for", p.For.String())
}

// witnesses returns the entities of the mirror that can show which account is asked.
func (f *finder) witnesses() *probe.Witnesses {
	return &probe.Witnesses{Source: f.name, Definition: f.def, API: f.api, Mirror: f.store, Accounts: f.streams}
}

// statusOf names an answer for the metric.
func statusOf(err error) string {
	var classed *fate.Error
	switch {
	case err == nil:
		return strconv.Itoa(http.StatusOK)
	case errors.As(err, &classed) && classed.Status != 0:
		return strconv.Itoa(classed.Status)
	}
	return "error"
}
