package app

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/condition"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/stream"
)

// tie reports whether Redis and the database are of one fleet. It refuses nothing before
// the database has answered.
type tie struct {
	keeper atomic.Pointer[identity.Keeper]
}

func (t *tie) check(ctx context.Context) error {
	if k := t.keeper.Load(); k != nil {
		return k.Check(ctx)
	}
	return nil
}

// tiedQueue writes nothing to a Redis of another fleet than the database. The provider or
// the operator repeats what it refuses. Every method is written out, so that no new one
// writes without the check.
type tiedQueue struct {
	streams *stream.Streams
	tie     *tie
}

// Append appends a signal.
func (q tiedQueue) Append(ctx context.Context, d stream.Draft) (stream.Receipt, error) {
	if err := q.tie.check(ctx); err != nil {
		return stream.Receipt{}, err
	}
	return q.streams.Append(ctx, d)
}

// AppendAll appends signals.
func (q tiedQueue) AppendAll(ctx context.Context, ds []stream.Draft) ([]stream.Receipt, error) {
	if err := q.tie.check(ctx); err != nil {
		return nil, err
	}
	return q.streams.AppendAll(ctx, ds)
}

// AddNotes records notes.
func (q tiedQueue) AddNotes(ctx context.Context, notes []stream.Note) error {
	if err := q.tie.check(ctx); err != nil {
		return err
	}
	return q.streams.AddNotes(ctx, notes)
}

// Pause pauses a source.
func (q tiedQueue) Pause(ctx context.Context, source string, d time.Duration, reason, by string) error {
	if err := q.tie.check(ctx); err != nil {
		return err
	}
	return q.streams.Pause(ctx, source, d, reason, by)
}

// Resume ends a pause.
func (q tiedQueue) Resume(ctx context.Context, source string) error {
	if err := q.tie.check(ctx); err != nil {
		return err
	}
	return q.streams.Resume(ctx, source)
}

// ResumeAccepting ends a pause and accepts deletions.
func (q tiedQueue) ResumeAccepting(ctx context.Context, source, by string) error {
	if err := q.tie.check(ctx); err != nil {
		return err
	}
	return q.streams.ResumeAccepting(ctx, source, by)
}

// RetryParked makes everything parked of a source due now.
func (q tiedQueue) RetryParked(ctx context.Context, source string) (int, error) {
	if err := q.tie.check(ctx); err != nil {
		return 0, err
	}
	return q.streams.RetryParked(ctx, source)
}

// RetryEntities makes parked entities due now.
func (q tiedQueue) RetryEntities(ctx context.Context, keys []event.Key) (int, error) {
	if err := q.tie.check(ctx); err != nil {
		return 0, err
	}
	return q.streams.RetryEntities(ctx, keys)
}

// What only reads needs no check.

// Waiting lists parked entities.
func (q tiedQueue) Waiting(ctx context.Context, f stream.WaitingFilter) (stream.WaitingPage, error) {
	return q.streams.Waiting(ctx, f)
}

// WaitingOf returns a parked entity.
func (q tiedQueue) WaitingOf(ctx context.Context, k event.Key) (*stream.Waiting, error) {
	return q.streams.WaitingOf(ctx, k)
}

// Ping reports whether Redis answers.
func (q tiedQueue) Ping(ctx context.Context) error { return q.streams.Ping(ctx) }

// Source returns the state of a source.
func (q tiedQueue) Source(ctx context.Context, source string) (condition.State, error) {
	return q.streams.Source(ctx, source)
}

// DeletionsAccepted is for how long deletions are accepted.
func (q tiedQueue) DeletionsAccepted(ctx context.Context, source string) (time.Duration, error) {
	return q.streams.DeletionsAccepted(ctx, source)
}

// Fleet returns all shards and live workers.
func (q tiedQueue) Fleet(ctx context.Context, sources []string) ([]stream.ShardState, []string, error) {
	return q.streams.Fleet(ctx, sources)
}

// Budget returns how much of a source's budget is left.
func (q tiedQueue) Budget(ctx context.Context, source string, r stream.Rate) (float64, error) {
	return q.streams.Budget(ctx, source, r)
}

// Counted returns how many events were logged, by note.
func (q tiedQueue) Counted(ctx context.Context, source string, at time.Time, periods int) (stream.Tally, error) {
	return q.streams.Counted(ctx, source, at, periods)
}

// Unconfigured returns the unconfigured sources whose work waits.
func (q tiedQueue) Unconfigured(ctx context.Context, configured []string) ([]stream.UnconfiguredSource, error) {
	return q.streams.Unconfigured(ctx, configured)
}

// Former returns sources that were configured before, other than those now.
func (q tiedQueue) Former(ctx context.Context, configured []string) ([]string, error) {
	return q.streams.Former(ctx, configured)
}
