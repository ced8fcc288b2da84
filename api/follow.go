package api

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage"
)

// The feed is read once for all who follow it. One poll of the head for each source wakes
// all its followers, and followers who want the same part share one read of it, with its
// documents and their JSON.
//
// A part that is shared must not be older than what one of them was sent before: versions
// of an entity would go backwards. So a follower takes part in a read only if it asked, or
// began to wait for the ring that led to the read, before the read began: all that it was
// sent is older then. No part is kept for the next follower.

const (
	// pollEvery is how often the head of a feed is read while anyone follows it, pollHeard
	// how often where the database rings when there is more, and pollAway how often while
	// the store does not answer.
	pollEvery, pollHeard, pollAway = 50 * time.Millisecond, 500 * time.Millisecond, time.Second
	// readsAtOnce is how many parts are read at once. Others wait, and are shared
	// meanwhile.
	readsAtOnce = 8
	// readWithin is how long a part may take to be read.
	readWithin = 10 * time.Second
	// mostFollowers is how many requests follow at once. Each takes less than 64 KiB.
	mostFollowers = 2000
)

// hub is where followers of all feeds wait and read.
type hub struct {
	store Store
	view  feed.View
	log   *slog.Logger
	turns chan struct{}
	most  int

	mu        sync.Mutex
	followers int
	bells     map[string]*bell
	pending   map[readKey]*sharedRead
}

func newHub(store Store, view feed.View, log *slog.Logger) *hub {
	return &hub{
		store: store, view: view, log: log, turns: make(chan struct{}, readsAtOnce), most: mostFollowers,
		bells: map[string]*bell{}, pending: map[readKey]*sharedRead{},
	}
}

// bell wakes the followers of a feed when its head is another.
type bell struct {
	followers int
	stop      context.CancelFunc
	next      *ring
}

// ring is one ringing of a bell. Those who waited for it share what they read after it.
type ring struct {
	rung chan struct{} // closed when it rings

	mu    sync.Mutex
	reads map[readKey]*sharedRead
}

func newRing() *ring { return &ring{rung: make(chan struct{}), reads: map[readKey]*sharedRead{}} }

// join counts a follower of a feed, until leave. False: there are too many.
func (h *hub) join(source string) (leave func(), ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.followers >= h.most {
		return nil, false
	}
	h.followers++
	b := h.bells[source]
	if b == nil {
		ctx, stop := context.WithCancel(context.Background()) // ends with the last follower
		b = &bell{stop: stop, next: newRing()}
		h.bells[source] = b
		go h.poll(ctx, source, b)
	}
	b.followers++
	return func() { h.leave(source, b) }, true
}

func (h *hub) leave(source string, b *bell) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.followers--
	if b.followers--; b.followers == 0 {
		b.stop()
		delete(h.bells, source)
	}
}

// nextRing returns the ring that comes once the head is another than now. It is taken
// before the feed is read, so that no change is missed in between. The caller has joined.
func (h *hub) nextRing(source string) *ring {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bells[source].next
}

// poll rings the bell of a source until ctx ends.
func (h *hub) poll(ctx context.Context, source string, b *bell) {
	more := storage.Listen(ctx, func(ctx context.Context, ring func()) error { return h.store.WatchFeed(ctx, source, ring) },
		func(error) {}) // the head is read all the same
	defer more.Close()
	var head feed.Cursor
	for first := true; ; first = false {
		asking, cancel := context.WithTimeout(ctx, readWithin)
		now, err := feed.Head(asking, h.store, source)
		cancel()
		pause := pollEvery
		if more.Heard() {
			pause = pollHeard
		}
		switch {
		case err != nil:
			pause = pollAway
		case now != head || first:
			head = now
			h.mu.Lock()
			close(b.next.rung)
			b.next = newRing()
			h.mu.Unlock()
		}
		timer := time.NewTimer(pause)
		select {
		case <-more.Rung():
		case <-timer.C:
		case <-ctx.Done():
		}
		if timer.Stop(); ctx.Err() != nil {
			return
		}
	}
}

// readKey names a part of a feed.
type readKey struct {
	source, filter string
	after          feed.Cursor
	items          int
}

// sharedRead is a part that is to be read, or being read, for any number of followers.
type sharedRead struct {
	done chan struct{}
	part *part
	err  error
}

// read is one reading of a part.
type read func(context.Context) (*part, error)

// wait returns what was read.
func (r *sharedRead) wait(ctx context.Context) (*part, error) {
	select {
	case <-r.done:
		return r.part, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// afterRing reads a part for all who waited for a ring. It has rung, and the caller has
// waited for it since it was sent something last.
func (h *hub) afterRing(ctx context.Context, g *ring, key readKey, do read) (*part, error) {
	g.mu.Lock()
	r, there := g.reads[key]
	if !there {
		r = &sharedRead{done: make(chan struct{})}
		g.reads[key] = r
	}
	g.mu.Unlock()
	if !there {
		go h.carryOut(context.WithoutCancel(ctx), r, func() {}, do)
	}
	return r.wait(ctx)
}

// share reads a part, or waits for another follower's read of it that has not begun.
func (h *hub) share(ctx context.Context, key readKey, do read) (*part, error) {
	h.mu.Lock()
	r, joined := h.pending[key]
	if !joined {
		r = &sharedRead{done: make(chan struct{})}
		h.pending[key] = r
	}
	h.mu.Unlock()
	if !joined {
		// Others depend on it, so it goes on if this follower leaves.
		go h.carryOut(context.WithoutCancel(ctx), r, func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.pending, key) // from here on it is too late to join
		}, do)
	}
	return r.wait(ctx)
}

// carryOut reads for those who share, in its turn. begins is called when it begins.
func (h *hub) carryOut(ctx context.Context, r *sharedRead, begins func(), do read) {
	defer close(r.done)
	h.turns <- struct{}{}
	defer func() { <-h.turns }()
	begins()
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	// It runs beside all requests: a panic here would end the process.
	r.err = loops.Safely(func() (err error) { r.part, err = do(ctx); return err })
}

// alone reads what no other follower wants, in its turn.
func (h *hub) alone(ctx context.Context, do read) (*part, error) {
	select {
	case h.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-h.turns }()
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	return do(ctx)
}
