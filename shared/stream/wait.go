package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
)

const (
	// waitSlack is how much longer an answer may take. Redis ends a blocking
	// read by its wall clock, so one under way when that is set back would last
	// as much longer.
	waitSlack = 2 * time.Second
	// A wait of longWait or more ends waitEarly before a tick of seconds.
	longWait, waitEarly = 10 * time.Second, 5 * time.Millisecond
	// waitBuffer is the size of each buffer of a waiting connection, in bytes. There is
	// a connection for each shard, and what it reads is thrown away.
	waitBuffer = 4 << 10
)

// Place names one stream of a shard.
type Place struct {
	Source string
	Tier   event.Tier
}

// Waiter waits for new entries in the streams of a shard. It has a connection of its
// own, on which a read blocks until there is one, so a wait is ended by closing that
// connection. It is for one goroutine.
type Waiter struct {
	l      *Lease
	client *redis.Client
	under  *waiting
}

// waiting is a wait under way.
type waiting struct {
	places []Place
	cancel context.CancelFunc
	done   chan struct{}
	found  []Place
	err    error
}

// Waiter returns a Waiter for the lease's shard, to be closed. It does not begin to
// wait.
func (l *Lease) Waiter() *Waiter { return &Waiter{l: l} }

// Begin waits until one of the places holds an entry that was not delivered, for the time
// that waitFor returns, atMost at most. It ends a wait under way.
//
// It reads from the last entry delivered, never from $: what came between the last
// Read and now must end it. Only the first new entry is fetched, and thrown away:
// delivering is Read's alone.
func (w *Waiter) Begin(ctx context.Context, places []Place, atMost time.Duration) {
	if w.under != nil {
		w.Close()
	}
	ctx, cancel := context.WithCancel(ctx) // for a connection that is being made
	under := &waiting{places: slices.Clone(places), cancel: cancel, done: make(chan struct{})}
	w.under = under
	client, err := w.connected(ctx)
	if err != nil {
		under.err = fmt.Errorf("wait for shard %d: %w", w.l.shard, err)
		close(under.done)
		return
	}
	args := &redis.XReadArgs{Count: 1, Block: waitFor(atMost)}
	names := map[string]Place{}
	var from []string
	for _, p := range places {
		stream := w.l.s.keys.stream(w.l.shard, p.Source, p.Tier)
		args.Streams, from = append(args.Streams, stream), append(from, w.l.at(stream).last)
		names[stream] = p
	}
	args.Streams = append(args.Streams, from...)
	go func() {
		defer close(under.done)
		within, cancel := context.WithTimeout(ctx, args.Block+waitSlack)
		defer cancel()
		streams, err := client.XRead(within, args).Result()
		for _, s := range streams {
			under.found = append(under.found, names[s.Stream])
		}
		under.err = w.l.outcome(ctx, within, err)
	}()
}

// waitFor returns how long a wait lasts: between three quarters of atMost and all of it, so
// that the waits of many shards do not all end together. A long one is up to two seconds
// shorter, so that it ends just before a tick of seconds. The worker is awake then, and an
// idle Redis notices the end of a wait with the command that comes next, or by its own timer.
func waitFor(atMost time.Duration) time.Duration {
	d := max(time.Millisecond, atMost-rand.N(atMost/4+1)) // BLOCK 0 would be for ever
	if d < longWait {
		return d
	}
	return d.Truncate(time.Second) - time.Second + loops.UntilTick(time.Second) - waitEarly
}

// outcome returns the error of a wait, nil if it only ended.
func (l *Lease) outcome(ctx, within context.Context, err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		return nil
	}
	// The connection's deadline is that of within, and may be noticed before it.
	if late := errors.Is(err, os.ErrDeadlineExceeded) || within.Err() != nil; late && ctx.Err() == nil {
		return nil // nothing is lost with the answer: it only wakes up
	}
	return fmt.Errorf("wait for shard %d: %w", l.shard, err)
}

// connected returns the client of the connection, made if there is none.
func (w *Waiter) connected(ctx context.Context) (*redis.Client, error) {
	if w.client != nil {
		return w.client, nil
	}
	var err error
	w.client, err = w.l.s.dedicated(ctx, w.l.key)
	return w.client, err
}

// dedicated returns a client with one connection, to the server of a key, on which a
// command may block.
func (s *Streams) dedicated(ctx context.Context, key string) (*redis.Client, error) {
	var o redis.Options
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		node, err := c.MasterForKey(ctx, key)
		if err != nil {
			return nil, err
		}
		o = *node.Options()
	case *redis.Client:
		o = *c.Options()
	default:
		return nil, fmt.Errorf("redis client of type %T", c)
	}
	o.PoolSize, o.ReadBufferSize, o.WriteBufferSize = 1, waitBuffer, waitBuffer
	o.MaxRetries = -1 // 0, as the copy has it, would be the default
	client := redis.NewClient(&o)
	s.writes.watch(client)
	return client, nil
}

// Covers reports whether the wait under way is for all of the places.
func (w *Waiter) Covers(places []Place) bool {
	return w.under != nil && !slices.ContainsFunc(places, func(p Place) bool { return !slices.Contains(w.under.places, p) })
}

// Done is closed when the wait under way has ended; nil if there is none.
func (w *Waiter) Done() <-chan struct{} {
	if w.under == nil {
		return nil
	}
	return w.under.done
}

// End returns the places where a wait that is done found something new: none if its
// time was over. After an error, nothing is known of any place.
func (w *Waiter) End() ([]Place, error) {
	under := w.under
	<-under.done
	under.cancel()
	w.under = nil
	if under.err != nil {
		w.Close() // the next wait may have to go to another Redis
	}
	return under.found, under.err
}

// Close ends the wait under way, if there is one, and closes the connection. The
// Waiter may be used again.
func (w *Waiter) Close() {
	if w.under != nil {
		w.under.cancel()
		w.under = nil
	}
	if w.client != nil {
		_ = w.client.Close() // it wrote nothing
		w.client = nil
	}
}
