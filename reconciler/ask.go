package reconciler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// API is what is asked of a provider; *provider.Client is one.
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
	// triesPerCall is how often a call may fail for the provider's fault while
	// the source as a whole answers; then it is this one that is ill.
	triesPerCall = 5
	// suspectAfter is after how many failures the probe path is asked whether
	// the source is down.
	suspectAfter = 3
	// longestPause bounds a pause that nobody asked a length of.
	longestPause = time.Minute
)

// pace is how long waiting takes. Tests wait less.
type pace struct {
	// poll is how often Redis is asked again for what others decide.
	poll time.Duration
	// backoff is the pause after the first failure; each further one doubles.
	backoff time.Duration
	// patience is how long a missing event may still be on its way.
	patience time.Duration
	// keep is how often progress is noted.
	keep time.Duration
}

func usualPace() pace {
	return pace{poll: 250 * time.Millisecond, backoff: time.Second, patience: time.Second, keep: 2 * time.Second}
}

// finder is what looking for differences needs of one source.
type finder struct {
	name     string
	def      *provider.Definition
	api      API
	store    mirror.Store
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
	// loop learns that work goes on, and what it waits for. May be nil.
	loop *telemetry.Loop

	// onPause is told of each wait for a source that is paused. May be nil.
	onPause func(stream.SourceState)

	// bucket is a budget of its own, shared by all who work on the same sweep,
	// with its rate. "": there is none.
	bucket     string
	bucketRate stream.Rate
}

// limited returns a finder that asks at most so often a second, together with
// all others of that name. 0: as often as the budget of the source allows.
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

// kinds are the names of all kinds of the provider.
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

// ask asks under the fleet's budget. As long as it is the source that is ill,
// it waits and asks again, which may take days; an error is about this very
// question, or of ctx. calls counts what was sent.
func ask[T any](ctx context.Context, f *finder, calls *int64, q request[T]) (T, error) {
	var none T
	for failed := 0; ; {
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
		if err == nil {
			return v, nil
		}
		again, wait := f.mayAskAgain(ctx, err, &failed)
		if !again {
			return none, err
		}
		if !rest(ctx, wait) {
			return none, ctx.Err()
		}
	}
}

// token waits for one token of the budget, while the source is paused too.
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
		if !rest(ctx, wait) {
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
		if !rest(ctx, wait) {
			return ctx.Err()
		}
	}
}

// probe ends a pause whose time has come, if this process is the one in the
// fleet to try. Workers do the same, but there may be none.
func (f *finder) probe(ctx context.Context, state stream.SourceState) {
	if state.Until.IsZero() || !f.now().After(state.Until) {
		return
	}
	probe, err := f.streams.TakeProbe(ctx, f.name, 15*time.Second)
	if err != nil || probe == "" {
		return
	}
	if err := f.api.Probe(ctx); err != nil {
		f.pause(ctx, err, "probe failed")
		return
	}
	_, _ = f.streams.EndProbe(ctx, f.name, probe) // the next probe tries again
}

// mayAskAgain decides about a call that failed: whether to ask again, and
// after how long.
func (f *finder) mayAskAgain(ctx context.Context, err error, failed *int) (again bool, wait time.Duration) {
	class, asked := fate.Of(err)
	switch class {
	case fate.Throttled:
		f.pause(ctx, err, "throttled")
		return true, 0
	case fate.Refused:
		// Is it our key, or this one question?
		if perr := f.api.Probe(ctx); perr != nil {
			f.pause(ctx, perr, "credentials refused")
			return true, 0
		}
		return false, 0
	case fate.Transient, fate.Unavailable:
	default:
		return false, 0
	}
	*failed++
	if *failed >= suspectAfter {
		if perr := f.api.Probe(ctx); perr != nil {
			f.pause(ctx, perr, "source is down")
			*failed = 0
			return true, 0
		}
	}
	return *failed < triesPerCall, max(asked, f.pace.backoff<<(*failed-1))
}

// pause pauses the source for the fleet: as long as the provider asked, or
// longer with every strike.
func (f *finder) pause(ctx context.Context, cause error, what string) {
	if ctx.Err() != nil {
		return
	}
	_, d := fate.Of(cause)
	if d <= 0 {
		state, err := f.streams.Source(ctx, f.name)
		if err != nil {
			return // redis is away: nobody takes a token either
		}
		d = min(f.pace.backoff<<min(state.Strikes, 10), longestPause)
	}
	reason := fmt.Sprintf("%s: %v", what, cause)
	if err := f.streams.Pause(ctx, f.name, d, reason, f.owner); err != nil {
		f.log.Warn("could not pause a source", "source", f.name, "reason", reason, "error", err)
		return
	}
	f.log.Warn("source paused", "source", f.name, "reason", reason, "for", d.String())
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

// isGone reports whether the provider says, in its own words, that it has no
// such entity.
func isGone(err error) bool {
	class, _ := fate.Of(err)
	return err != nil && class == fate.Gone
}

// rest waits for d or until ctx ends; false: it ended.
func rest(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
