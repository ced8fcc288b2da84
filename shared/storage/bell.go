package storage

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
)

// ErrNoBell is returned by a store whose database does not tell of changes.
var ErrNoBell = errors.New("the database does not tell of changes")

// BellEvery is how long it takes until a bell that broke off is listened to again.
const BellEvery = 10 * time.Second

// Bell says that there may be something new to read. It may ring for nothing, and miss what
// it should ring for, so who listens looks by itself too, only less often while the bell
// can be heard.
type Bell struct {
	rung   chan struct{}
	heard  atomic.Bool
	stop   context.CancelFunc
	silent chan struct{}
}

// Listen listens to Outbox.WatchOutbox or FeedReader.WatchFeed, again and again, until Close
// or the end of ctx; not at all if the database has no bell. broke is called each time it
// breaks off.
func Listen(ctx context.Context, watch func(ctx context.Context, ring func()) error, broke func(error)) *Bell {
	ctx, stop := context.WithCancel(ctx)
	b := &Bell{rung: make(chan struct{}, 1), stop: stop, silent: make(chan struct{})}
	go func() {
		defer close(b.silent)
		for ctx.Err() == nil {
			err := watch(ctx, b.ring)
			b.heard.Store(false)
			if ctx.Err() != nil || errors.Is(err, ErrNoBell) {
				return
			}
			broke(err)
			loops.Sleep(ctx, BellEvery)
		}
	}()
	return b
}

func (b *Bell) ring() {
	b.heard.Store(true)
	select {
	case b.rung <- struct{}{}:
	default: // it rings already
	}
}

// Rung has a value once the bell has rung since the last one was taken.
func (b *Bell) Rung() <-chan struct{} { return b.rung }

// Heard reports whether the bell can be heard: it has rung, as it does once it is listened
// to, and has not broken off since.
func (b *Bell) Heard() bool { return b.heard.Load() }

// Close ends the listening, and waits for that.
func (b *Bell) Close() {
	b.stop()
	<-b.silent
}
