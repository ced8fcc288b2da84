package app

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/identity"
	"github.com/tarn-sync/tarn/shared/stream"
)

// tie says whether Redis and the database are of one fleet. Before the database
// answers nothing is known of it, and nothing is refused.
type tie struct {
	keeper atomic.Pointer[identity.Keeper]
}

func (t *tie) check(ctx context.Context) error {
	if k := t.keeper.Load(); k != nil {
		return k.Check(ctx)
	}
	return nil
}

// tiedQueue takes nothing into a Redis that is of another fleet than the
// database. What it refuses comes again, from the provider or the operator.
type tiedQueue struct {
	*stream.Streams
	tie *tie
}

// Append appends a signal.
func (q tiedQueue) Append(ctx context.Context, d stream.Draft) (stream.Receipt, error) {
	if err := q.tie.check(ctx); err != nil {
		return stream.Receipt{}, err
	}
	return q.Streams.Append(ctx, d)
}

// AddNotes puts notes on record.
func (q tiedQueue) AddNotes(ctx context.Context, notes []stream.Note) error {
	if err := q.tie.check(ctx); err != nil {
		return err
	}
	return q.Streams.AddNotes(ctx, notes)
}

// Pause pauses a source.
func (q tiedQueue) Pause(ctx context.Context, source string, d time.Duration, reason, by string) error {
	if err := q.tie.check(ctx); err != nil {
		return err
	}
	return q.Streams.Pause(ctx, source, d, reason, by)
}

// Resume ends a pause.
func (q tiedQueue) Resume(ctx context.Context, source string) error {
	if err := q.tie.check(ctx); err != nil {
		return err
	}
	return q.Streams.Resume(ctx, source)
}

// ResumeAccepting ends a pause and accepts deletions for a while.
func (q tiedQueue) ResumeAccepting(ctx context.Context, source, by string) error {
	if err := q.tie.check(ctx); err != nil {
		return err
	}
	return q.Streams.ResumeAccepting(ctx, source, by)
}

// RetryParked makes everything parked of a source due now.
func (q tiedQueue) RetryParked(ctx context.Context, source string) (int, error) {
	if err := q.tie.check(ctx); err != nil {
		return 0, err
	}
	return q.Streams.RetryParked(ctx, source)
}
