package worker

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/fault"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/telemetry"
	"github.com/tarn-sync/tarn/worker/entity"
)

// lock keeps a stale owner of the shard and its successor from fetching the same
// entity at once. Correctness does not rest on it.
func (r *run) lock(ctx context.Context) {
	r.trace.lockFrom = time.Now()
	r.unlock, _ = r.s.w.Streams.Lock(ctx, r.lane.Key)
	r.trace.lockTo = time.Now()
}

// claim lets further held-back signals in, and raises the claim.
func (r *run) claim(ctx context.Context, e entity.Claim) (doc *storage.Document, err error) {
	r.trace.ctx = r.startSpan(ctx, e)
	s := r.s
	for _, cause := range e.Forget {
		if err := s.w.Streams.ForgetOnce(ctx, cause, e.Ref.Key); err != nil {
			return nil, fate.New(fate.Unavailable, fmt.Errorf("forget the mark of %s: %w", e.Ref.Key, err))
		}
	}
	fault.Point("before-claim")
	ctx, end := r.step("claim")
	defer func() { end(err) }()
	if doc, err = s.w.Store.Claim(ctx, e.Ref); err != nil {
		return nil, fromStore(fmt.Errorf("claim %s: %w", e.Ref.Key, err))
	}
	if len(doc.Damaged) > 0 {
		s.log.Error("fields of an entity's document could not be read and are removed; what the provider answers replaces them",
			"entity", e.Ref.Key.String(), "fields", strings.Join(doc.Damaged, " "))
	}
	if fault.Off("feed-fed") {
		doc.Fed = doc.Version
	}
	fault.Point("after-claim")
	return markErased(ctx, r, e, doc)
}

// fetch sends one request for the entity.
func (r *run) fetch(ctx context.Context, e entity.Fetch) (*provider.Snapshot, error) {
	if e.Further || r.spent {
		if err := r.src.token(ctx, max(e.Class, event.Live)); err != nil {
			return nil, err
		}
	}
	if !e.Further {
		r.asked = time.Now()
	}
	start := time.Now()
	if err := r.src.refusal(e.Ref, start); err != nil {
		return nil, err
	}
	if err := underErased(r.s.w, r.src, e.Ref); err != nil {
		return nil, err
	}
	snap, err := r.src.Client.Fetch(r.trace.ctx, e.Ref, e.Why)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	m := r.s.w.Metrics
	telemetry.Observe(r.trace.ctx, m.FetchSeconds.WithLabelValues(r.src.Name), time.Since(start))
	m.Fetches.WithLabelValues(r.src.Name, e.Ref.Key.Kind, e.Class.String(), fate.StatusOf(err)).Inc()
	return snap, err
}

// report passes the provider's answer to the source.
func (r *run) report(ctx context.Context, e entity.Report) {
	r.src.noteAnswer(e)
	r.src.heed(ctx)
	if e.Err == nil && e.Document.Alive() && !e.Snapshot.Deleted {
		r.src.evidence.learn(ctx, e.Ref, e.Class)
	}
	fault.Point("after-fetch")
}

// consult answers what the sync asks about its source.
func (r *run) consult(ctx context.Context, e entity.Consult) (result entity.Result) {
	src := r.src
	if e.Question != fate.Believable && fate.IsAlone(e.Err) {
		return entity.Result{}
	}
	switch e.Question {
	case fate.Down:
		result.Yes = src.isDown(ctx)
	case fate.Refusing:
		if result.Yes = src.condition.IsIll(ctx, src.condition.Prober.Ask); !result.Yes {
			result.OfKind, result.Err = src.refusesMore(ctx, e)
		}
	case fate.Overasked:
		result.Yes = src.condition.Overasked(ctx, e.Key, e.Err, src.condition.Prober.Recent)
	case fate.Believable:
		if e.Emptied {
			now, err := r.s.w.Streams.Now(ctx)
			if err != nil {
				return entity.Result{Err: fromRedis(err)}
			}
			e.Since = src.evidence.emptiedSince(e.Key, now)
		}
		result.Yes = src.evidence.believable(ctx, e, r.asked)
		result.After = src.evidence.wait()
		if e.Emptied && result.Yes {
			src.evidence.filled(e.Key)
		}
	}
	if err := ctx.Err(); err != nil {
		result.Err = err // the answer decides nothing
	}
	return result
}

// record stores that the provider took back history, and alerts.
func (r *run) record(ctx context.Context, e entity.Record) error {
	d := e.Discrepancy
	if err := r.s.w.Store.Record(ctx, []storage.Discrepancy{d}); err != nil {
		return fromStore(fmt.Errorf("record a rewritten history: %w", err))
	}
	r.s.w.Alerts.Raise(alert.Alert{
		At: d.FoundAt, Kind: alert.Rewritten, Source: d.Source, ID: d.ID, Entity: d.Entity.String(), Class: string(d.Type), Reason: e.Reason,
	})
	return nil
}

// write writes the answer, and marks dead letters superseded that it makes needless.
func (r *run) write(w *storage.Write) (err error) {
	ctx, end := r.step("write")
	defer func() { end(err) }()
	store := r.s.w.Store
	done, err := store.Write(ctx, w)
	if err != nil {
		return fromStore(fmt.Errorf("write %s: %w", w.Ref.Key, err))
	}
	if !done.Applied {
		r.s.w.Metrics.StaleRefused.WithLabelValues(r.src.Name).Inc()
		return fate.ErrOvertaken
	}
	fault.Point("after-write")
	if w.Deleted {
		r.src.answers.Deleted(w.Ref.Key) // no longer a known entity that is missing
	}
	if !done.OpenLetters {
		return nil
	}
	if _, err := store.Supersede(ctx, w.Ref.Key, w.Claim); err != nil {
		return fromStore(fmt.Errorf("supersede letters of %s: %w", w.Ref.Key, err))
	}
	return nil
}

// lookAgain asks for a second sync after a while.
func (r *run) lookAgain(e entity.LookAgain) error {
	return r.s.appendAll(nil, []stream.Draft{{
		Signal: event.Signal{
			Ref: e.Ref, Cause: event.CauseVerify, CauseID: e.CauseID,
			Class: event.Reconcile, NotBefore: r.s.w.Now().Add(e.After),
		},
		Once: onceFor(e.After),
	}})
}

// count counts a failed attempt on the rows of events.
func (r *run) count(ctx context.Context, e entity.Count) error {
	if len(e.Failures) == 0 {
		return nil
	}
	return r.s.w.persist(ctx, nil, "count an attempt", func() error { return r.s.w.Store.Fail(ctx, e.Failures) })
}

// parkFailed parks an entity whose sync failed.
func (r *run) parkFailed(e entity.Park) error {
	if e.Counted {
		fault.Point("after-fail")
	}
	p := stream.Park{
		Key: e.Lane.Key, Charged: e.Charged, Waiting: e.Waiting, Tried: e.Tried,
		Attempt: e.Attempt, Delay: e.Delay, Earliest: e.Earliest, State: e.State.Encode(stream.MaxState),
	}
	if err := r.s.parked.park(nil, p); err != nil {
		return err
	}
	fault.Point("after-park")
	src := r.s.w.sources[e.Lane.Key.Source]
	r.s.letGo(src, e.Charged, nil)
	r.s.letGo(src, e.Waiting, nil)
	level := slog.LevelInfo // the work goes on by itself; if it does not, the dead letter is an error
	if class, _ := fate.Of(e.Cause); class == fate.Undefined {
		warnUndefined(src, e.Lane.Key.Kind)
		level = slog.LevelDebug
	}
	// A provider that is away parks many; the api lists them all.
	r.s.common.Log(r.s.ctx, level, "sync failed; parked", "entity", e.Lane.Key.String(), "error", short(e.Cause), "attempt", e.Attempt, "charged", e.Counted, "retry_in", e.Delay.Round(time.Millisecond).String())
	return nil
}

// bury stores dead letters, raises their alerts, and removes the marks of their
// events, so that the provider may send those again.
func (r *run) bury(ctx context.Context, e entity.Bury) error {
	w := r.s.w
	if err := w.repair(ctx, nil, e.Failed, false); err != nil {
		return err
	}
	r.completeLetters(e)
	if err := r.noteGivenUp(ctx, e); err != nil {
		return err
	}
	if len(e.Letters) == 0 {
		return nil
	}
	var superseded []bool
	err := w.persist(ctx, nil, "write dead letters", func() (err error) {
		superseded, err = w.Store.Bury(ctx, e.Letters)
		return err
	})
	if err != nil {
		return err
	}
	fault.Point("after-letter")
	for i := range e.Letters {
		telemetry.CountTraced(r.trace.ctx, w.Metrics.DeadLetters.WithLabelValues(e.Key.Source, e.Class.String()))
		if !superseded[i] { // a later sync has covered it: it needs no person
			r.raiseAlert(&e.Letters[i])
		}
	}
	return r.forgetEvents(ctx, e)
}

// completeLetters adds the traces of their events to dead letters. A signal without
// an event has no dead letter, and the log says that it was given up.
func (r *run) completeLetters(e entity.Bury) {
	next := 0
	for i := range e.Batch {
		sig := &e.Batch[i].Signal
		if sig.Cause == event.CauseCommand {
			continue // the command is in the store, and waits by itself
		}
		if sig.Cause != event.CauseEvent {
			r.s.log.Error("gave up on a signal", "entity", e.Key.String(), "cause", sig.Cause, "cause_id", sig.CauseID, "class", e.Class.String())
			continue
		}
		e.Letters[next].TraceID = telemetry.TraceID(sig.Trace)
		next++
	}
}

// noteGivenUp notes the syncs by hand that are given up, which have neither a row nor a
// dead letter, so that their ids can be asked for.
func (r *run) noteGivenUp(ctx context.Context, e entity.Bury) error {
	var notes []storage.Note
	for i := range e.Batch {
		if sig := &e.Batch[i].Signal; sig.Cause == event.CauseOperator {
			notes = append(notes, storage.Note{
				ID: storage.GivenUpID(sig.CauseID), At: r.s.w.Now().UTC(), Source: e.Key.Source, Kind: storage.NoteGivenUp,
				EventID: sig.CauseID, Reason: e.Error, Count: 1,
			})
		}
	}
	if len(notes) == 0 {
		return nil
	}
	return r.s.w.persist(ctx, nil, "note the syncs that are given up", func() error { return r.s.w.Store.Note(ctx, notes) })
}

// raiseAlert raises the alert of a dead letter, once that is stored: a worker that
// dies between the two buries it again, and alerts then.
func (r *run) raiseAlert(l *storage.Letter) {
	t := alert.Alert{
		At: l.At, Kind: alert.DeadLetter, Source: l.Source, ID: l.ID(), Event: l.EventID,
		Entity: l.Ref.Key.String(), Class: l.Class, TraceID: l.TraceID,
	}
	if n := len(l.Attempts); n > 0 {
		t.Reason = firstLine(l.Attempts[n-1].Error)
	}
	r.s.w.Alerts.Raise(t)
}

// forgetEvents removes the marks of buried events, which are on the shards of
// the events' primary entities. A mark that stays runs out by itself.
func (r *run) forgetEvents(ctx context.Context, e entity.Bury) error {
	ids := make([]string, len(e.Letters))
	for i, l := range e.Letters {
		ids[i] = l.EventID
	}
	homes, err := r.s.w.Store.Homes(ctx, e.Key.Source, ids)
	if err == nil {
		err = r.s.w.Streams.ForgetEvents(ctx, homes)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.s.log.Warn("could not let buried events in again; their marks run out by themselves", "entity", e.Key.String(), "events", len(ids), "error", err)
	}
	return nil
}
