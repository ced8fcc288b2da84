package api

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// A wait looks at the store again and again. Most syncs take milliseconds, the others may
// take long, so the pauses grow with the time waited: a look is late by an eighth of that
// time at most, or by quickestLook.
//
// The alternative is that workers announce what they write. It costs a command for each
// event, or for each event a question whether anyone waits, and an announcement may be
// lost, so that looks are needed all the same. A look is one read by primary key.
const (
	quickestLook, slowestLook = time.Millisecond, time.Second
	// looksApart is the time between two looks of all waits of this process, so that
	// many waits are no load: 2,000 looks a second. More waits than that many still look
	// once in slowestLook each.
	looksApart = 500 * time.Microsecond
)

// looks gives the waits of a process their turns to look.
type looks struct {
	mu      sync.Mutex
	waiting int
	next    time.Time // no turn begins before it
}

// join counts a wait, until leave.
func (l *looks) join() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting++
}

func (l *looks) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting--
}

// turn returns how long to wait for the next turn, which the caller has.
func (l *looks) turn() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	at := l.next
	if at.Before(now) {
		at = now
	}
	l.next = at.Add(min(looksApart, slowestLook/time.Duration(max(l.waiting, 1))))
	return at.Sub(now)
}

// await reads an entity repeatedly until enough accepts it or the time is up, and returns
// the last one read.
func (r *reader) await(ctx context.Context, k event.Key, wait time.Duration, enough func(*storage.Document) bool) (*storage.Document, error) {
	return await(ctx, r, wait,
		func(ctx context.Context) (*storage.Document, error) { return r.known(ctx, k) },
		func(doc *storage.Document, err error) bool {
			return err != nil && !errors.Is(err, storage.ErrNotFound) || err == nil && enough(doc)
		})
}

// await reads something repeatedly until enough accepts what was read or the time is up,
// and returns the last one read. It reads once more when the time is up, so that the client
// gets a state that came during the last pause.
func await[T any](ctx context.Context, r *reader, wait time.Duration, read func(context.Context) (T, error), enough func(T, error) bool) (T, error) {
	began := time.Now()
	until := began.Add(wait)
	joined := false
	for {
		waited := time.Since(began) // before the look: one begun in time may end late
		got, err := read(ctx)
		if enough(got, err) || waited >= wait {
			return got, err
		}
		if !joined {
			joined = true
			r.looks.join()
			defer r.looks.leave()
		}
		pause := min(max(waited/8, quickestLook), slowestLook)
		if !r.sleep(ctx, min(pause, time.Until(until))) || !r.sleep(ctx, min(r.looks.turn(), time.Until(until))) {
			if ctx.Err() != nil {
				var none T
				return none, ctx.Err()
			}
			return got, err // the server leaves
		}
	}
}

// sleep waits for d. It returns false if the client or the server leaves before.
func (r *reader) sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.leaving:
		return false
	case <-ctx.Done():
		return false
	}
}

// known reads an entity that was fetched at least once, or is erased. A document may exist before
// that, to hold its claim.
func (r *reader) known(ctx context.Context, k event.Key) (*storage.Document, error) {
	doc, err := r.store.Entity(ctx, k)
	if err == nil && !doc.Known() && doc.Erased == nil {
		return nil, storage.ErrNotFound
	}
	return doc, err
}
