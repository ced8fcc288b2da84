package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/stream"
)

// page is how many entries of a parked entity are handled at a time.
const page = 1000

// attempt is one sync of one lane, from its start to its outcome.
type attempt struct {
	s   *shard
	ln  *lane
	src *source
	// kind is the entity's, nil once the definition has dropped it.
	kind *provider.Kind
	ref  event.Ref
	// batch is what this sync settles: what waited when the claim was taken. Of a
	// parked entity it is the first page of that, and summary is of all pages.
	batch   []stream.Entry
	summary batchSummary
	// parked and state are those of a parked entity, zero for others.
	parked stream.Parked
	state  parkState
	doc    *mirror.Document
	// sets are the parents to ask for the entity under, in order. mixed: they
	// disagree and none has it.
	sets  []map[string]string
	mixed bool
	snap  *provider.Snapshot
	trace syncTrace
	// passedOn: the batch is on its way to settler or acker, or to Redis.
	passedOn bool
	over     sync.Once
	// sent is when the provider was first asked, and asked the same by a clock
	// that is never set.
	sent, asked time.Time
	// settledTo is when the newest event settled so far was created.
	settledTo time.Time
}

// sync runs one sync of a lane: lock, take, claim, fetch, compare, write; and
// sees to what comes of it.
func (s *shard) sync(ln *lane) {
	a := &attempt{s: s, ln: ln, src: ln.src, kind: ln.src.Definition.Kind(ln.key.Kind), ref: event.Ref{Key: ln.key}}
	panicked := a.conclude(a.run(s.ctx))
	if panicked != nil && !a.passedOn {
		panicked = a.conclude(nil, panicked) // this entity's affair alone
	}
	if panicked != nil {
		s.log.Error("a sync panicked in its end; its shard starts over", "entity", ln.key.String(), "error", panicked)
		s.startOver()
		a.end(panicked)
	}
}

// conclude sees to what came of a run. What it returns is a panic of its own.
func (a *attempt) conclude(v *verdict, err error) (panicked error) {
	defer func() {
		if p := recover(); p != nil {
			panicked = panicError(p)
		}
	}()
	switch {
	case err == nil && v == nil:
		a.nothing()
	case err == nil && v.again > 0:
		a.s.w.Metrics.Lagging.WithLabelValues(a.src.Name).Inc()
		a.rest(v.again)
	case err == nil:
		a.covered(v)
	default:
		a.failed(err)
	}
	return nil
}

// panicError is a panic as an error, with the stack from where it happened.
func panicError(p any) error {
	stack := string(debug.Stack())
	if _, from, ok := strings.Cut(stack, "\npanic("); ok {
		stack = "panic(" + from
	}
	return fate.Errorf(fate.Panic, "panic: %v\n%s", p, stack)
}

// run goes as far as the write. A verdict without again means that the batch
// is covered; nil without an error, that nothing waits. A panic is an error.
func (a *attempt) run(ctx context.Context) (v *verdict, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	if a.ln.retry {
		if err := a.loadParked(ctx); err != nil || len(a.batch) == 0 {
			return nil, err
		}
	}
	if err := a.src.undefined(a.ln.key); err != nil {
		return nil, err
	}
	unlock := a.lock(ctx)
	defer unlock()
	if !a.ln.retry {
		a.batch = a.ln.waiting() // as late as can be: whatever waits is covered
		n := a.summary.add(a.kind, a.batch)
		a.batch = a.batch[:n:n]
	}
	ctx = a.startSpan(ctx)
	if err := a.forgetOnce(ctx); err != nil {
		return nil, err
	}
	fault.Point("before-claim")
	if err := a.claim(ctx); err != nil {
		return nil, err
	}
	fault.Point("after-claim")
	if err := a.fetch(ctx); err != nil {
		return nil, err
	}
	fault.Point("after-fetch")
	return a.compareAndWrite(ctx)
}

// lock keeps a stale owner of the shard and its successor from fetching the
// same entity at once. Nothing rests on it.
func (a *attempt) lock(ctx context.Context) func() {
	start := time.Now()
	unlock, _ := a.s.w.Streams.Lock(ctx, a.ln.key)
	a.trace.lockFrom, a.trace.lockTo = start, time.Now()
	return unlock
}

// forgetOnce lets further signals of the held-back kinds in again, before the
// claim: what they tell of from now on may come too late for this fetch.
func (a *attempt) forgetOnce(ctx context.Context) error {
	forget := func(c event.Cause) error {
		if err := a.s.w.Streams.ForgetOnce(ctx, c, a.ln.key); err != nil {
			return fate.New(fate.Unavailable, fmt.Errorf("forget the mark of %s: %w", a.ln.key, err))
		}
		return nil
	}
	if a.summary.derived {
		if err := forget(event.CauseDerived); err != nil {
			return err
		}
	}
	if a.summary.verify {
		return forget(event.CauseVerify)
	}
	return nil
}

func (a *attempt) claim(ctx context.Context) (err error) {
	ctx, end := a.step(ctx, "claim")
	defer func() { end(err) }()
	if len(a.summary.hints) > 0 {
		a.ref.Parents = a.summary.hints[0] // for a document that is made
	}
	if set, ok := qualifiers(a.src.Definition.Kind(a.ln.key.Kind), a.ln.key); ok {
		a.ref.Parents = set
	}
	a.doc, err = a.s.w.Store.Claim(ctx, a.ref)
	if err != nil {
		return fromStore(fmt.Errorf("claim %s: %w", a.ln.key, err))
	}
	if len(a.doc.Damaged) > 0 {
		a.s.log.Error("fields of an entity's document could not be read and are removed; what the provider answers replaces them",
			"entity", a.ln.key.String(), "fields", strings.Join(a.doc.Damaged, " "))
	}
	a.sets = a.parentSets()
	a.ref.Parents = a.sets[0]
	return nil
}

// fetch asks for the entity wherever it may stand, and tells the source what
// came of it all.
func (a *attempt) fetch(ctx context.Context) error {
	a.sent, a.asked = a.s.w.Now().UTC(), time.Now()
	err := a.askAround(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.noteAnswer(err)
	a.src.heed(ctx)
	if err == nil && knownAlive(a.doc) && !a.snap.Deleted {
		a.src.learn(ctx, a.ref, classOf(a.batch))
	}
	if err != nil {
		return fmt.Errorf("fetch %s: %w", a.ln.key, err)
	}
	return nil
}

// ask sends one request for the entity.
func (a *attempt) ask(ctx context.Context) (*provider.Snapshot, error) {
	start := time.Now()
	snap, err := a.src.Client.Fetch(ctx, a.ref, a.why())
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	m := a.s.w.Metrics
	m.FetchSeconds.WithLabelValues(a.src.Name).Observe(time.Since(start).Seconds())
	m.Fetches.WithLabelValues(a.src.Name, a.ln.key.Kind, classOf(a.batch).String(), statusOf(err)).Inc()
	return snap, err
}

// why is the justification given to providers that want one.
func (a *attempt) why() string {
	first := a.batch[0].Signal
	if first.Cause == event.CauseEvent {
		return "webhook-" + first.CauseID
	}
	return string(first.Cause) + "-" + first.CauseID
}

func (a *attempt) compareAndWrite(ctx context.Context) (*verdict, error) {
	v, err := a.judge(ctx)
	if err != nil || v.again > 0 {
		return v, err
	}
	if err := a.mayEmpty(ctx); err != nil {
		return nil, err
	}
	if v.rewritten {
		// First: once it is written nobody could tell any more.
		if err := a.recordRewritten(ctx); err != nil {
			return nil, err
		}
	}
	if err := a.write(ctx, a.writeOf(v)); err != nil {
		return nil, err
	}
	if a.factual() && !a.snap.Deleted && a.parentsDiffer(a.doc.Parents) {
		a.s.log.Info("an entity has moved to other parents", "entity", a.ln.key.String())
	}
	return v, a.afterWrite(v)
}

// errOvertaken: another fetch of the entity began after ours, so our answer
// was refused.
var errOvertaken = errors.New("a newer fetch of the entity has begun")

// write writes the answer, and makes dead letters that it makes pointless
// superseded.
func (a *attempt) write(ctx context.Context, w *mirror.Write) (err error) {
	ctx, end := a.step(ctx, "write")
	defer func() { end(err) }()
	done, err := a.s.w.Store.Write(ctx, w)
	if err != nil {
		return fromStore(fmt.Errorf("write %s: %w", a.ln.key, err))
	}
	if !done.Applied {
		a.s.w.Metrics.StaleRefused.WithLabelValues(a.src.Name).Inc()
		return errOvertaken
	}
	fault.Point("after-write")
	if w.Deleted {
		a.src.evidence.found(a.ln.key) // no longer a known entity that is missing
	}
	if !done.OpenLetters {
		return nil
	}
	if _, err := a.s.w.Store.Supersede(ctx, a.ln.key, a.doc.Claim); err != nil {
		return fromStore(fmt.Errorf("supersede letters of %s: %w", a.ln.key, err))
	}
	return nil
}

// writeOf turns the verdict into what the store is to do.
func (a *attempt) writeOf(v *verdict) *mirror.Write {
	w := &mirror.Write{
		Ref: a.ref, Claim: a.doc.Claim, SentAt: a.snap.SentAt,
		Kept: v.kept, DoubtedAt: v.doubted, Deleted: a.snap.Deleted, LastEvent: v.last, ForgetLastEvent: a.lastEventIsAhead(),
	}
	if v.kept || w.Deleted {
		return w
	}
	if a.unchanged() {
		return w // only the times move
	}
	w.Raw, w.StateHash, w.Status, w.Terminal = a.snap.Raw, a.snap.Hash, a.snap.Status, a.snap.Terminal
	return w
}

// unchanged reports whether the document holds the answer: every byte of it, and
// what the definition makes of it.
func (a *attempt) unchanged() bool {
	d, snap := a.doc, a.snap
	return d.DeletedAt.IsZero() && bytes.Equal(d.Raw, snap.Raw) &&
		d.StateHash == snap.Hash && d.Status == snap.Status && d.Terminal == snap.Terminal
}

// afterWrite asks for a second look if the verdict wants one. It comes before the
// batch settles.
func (a *attempt) afterWrite(v *verdict) error {
	if v.verify <= 0 {
		return nil
	}
	return a.lookAgain(v.verify)
}

// recordRewritten puts on record that the provider took back history, once for
// each time it does.
func (a *attempt) recordRewritten(ctx context.Context) error {
	now := a.s.w.Now().UTC()
	d := mirror.Discrepancy{
		ID:     "rewritten/" + a.ln.key.String() + "/" + strconv.FormatInt(a.doc.DoubtedAt.UnixMilli(), 10),
		Source: a.src.Name, Entity: a.ln.key, Type: mirror.Rewritten, Status: mirror.Repaired,
		FoundAt: now, JudgedAt: now, RepairedAt: now,
	}
	if err := a.s.w.Store.Record(ctx, []mirror.Discrepancy{d}); err != nil {
		return fromStore(fmt.Errorf("record a rewritten history: %w", err))
	}
	a.s.w.Alerts.Raise(alert.Alert{
		At: now, Kind: alert.Rewritten, Source: a.src.Name, ID: d.ID, Entity: a.ln.key.String(), Class: string(mirror.Rewritten),
		Reason: "the provider has answered without history the mirror holds since " + a.doc.DoubtedAt.UTC().Format(time.RFC3339),
	})
	return nil
}

// lookAgain asks for a second sync after d.
func (a *attempt) lookAgain(d time.Duration) error {
	return a.s.appendAll(nil, []stream.Draft{{
		Signal: event.Signal{
			Ref: a.ref, Cause: event.CauseVerify, CauseID: a.batch[0].Signal.CauseID,
			Class: event.Reconcile, NotBefore: a.s.w.Now().Add(d),
		},
		Once: onceFor(d),
	}})
}

// nothing ends a sync that found nothing to do.
func (a *attempt) nothing() {
	a.passedOn = true
	a.ln.endRetry()
	a.ln.done(0)
	a.end(nil)
}

// rest puts the lane aside for d with all that waits in it.
func (a *attempt) rest(d time.Duration) {
	a.passedOn = true
	a.s.mu.Lock()
	a.ln.lag++
	a.s.mu.Unlock()
	a.ln.rest(d)
	a.end(nil)
}

// hold puts the lane aside for d; the attempt is not charged.
func (a *attempt) hold(d time.Duration, cause error) {
	a.passedOn = true
	a.ln.rest(d)
	a.end(cause)
}

// syncAgain ends an attempt that could not bring to its end what it had decided: if
// the shard is still ours the whole sync is made again, uncharged, after a pause
// that grows each time, since it asks the provider again.
func (a *attempt) syncAgain(err error) {
	if !a.s.lost(err) && a.s.ctx.Err() == nil {
		pause := refusals.After(a.ln.syncedAgain(), 0)
		a.s.log.Warn("could not finish a sync; making it again", "entity", a.ln.key.String(), "error", err, "retry_in", pause.Round(time.Millisecond).String())
		a.hold(pause, err)
	}
	a.end(err)
}

// end closes the attempt's span and lets a hand-over go on.
func (a *attempt) end(err error) {
	a.over.Do(func() {
		a.trace.end(err)
		a.s.finish()
	})
}

// covered settles the batch and lets the lane go on at once: the settlements
// of one entity keep their order in the settler's queue.
func (a *attempt) covered(v *verdict) {
	if a.ln.retry {
		a.coveredParked(v)
		return
	}
	done := a.settledBy(v, a.batch)
	a.s.goesOn(a.ln.key)
	done.after = func() {
		fault.Point("after-settle")
		a.s.isSettled(a.ln.key)
		a.s.acks.add(a.src.Name, a.batch, func() { a.end(nil) })
	}
	done.refused = func() bool {
		a.s.headRefused(a.ln.key)
		a.end(errRefused) // no work under way: a hand-over does not wait for it
		return true
	}
	a.traceCovered(a.batch)
	a.passedOn = true
	a.s.w.settler.add(done)
	a.ln.done(len(a.batch))
}

// settledBy is what the verdict settles of the entries. A discrepancy is
// repaired unless the answer was not taken: the mirror is then not what the
// provider says, and the next sweep finds it again.
func (a *attempt) settledBy(v *verdict, entries []stream.Entry) settled {
	return settled{
		shard: a.s, key: a.ln.key, list: a.settlements(v, entries),
		repairs: discrepancies(entries), repaired: !v.kept,
	}
}

// overtaken is a pause at random, so that two owners do not meet again.
func overtaken() time.Duration { return time.Duration(50+rand.IntN(450)) * time.Millisecond }

// fromStore classifies an error of the store: one it did not classify is taken
// for the store being away, since that charges nobody.
func fromStore(err error) error {
	if class, _ := fate.Of(err); class == fate.Transient && !errors.Is(err, context.Canceled) {
		return fate.New(fate.Unavailable, err)
	}
	return err
}

// fromRedis does the same for Redis, but for the loss of the lease.
func fromRedis(err error) error {
	if errors.Is(err, stream.ErrFenced) || errors.Is(err, context.Canceled) {
		return err
	}
	return fate.New(fate.Unavailable, err)
}

// statusOf names an answer for the metric.
func statusOf(err error) string {
	var f *fate.Error
	switch {
	case err == nil:
		return "200"
	case errors.As(err, &f) && f.Status != 0:
		return strconv.Itoa(f.Status)
	}
	return "error"
}
