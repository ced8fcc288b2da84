package stream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/loops"
)

const (
	// maxAwait bounds a blocking read, since cancelling does not end one.
	maxAwait = time.Second
	// awaitSlack is how much longer an answer may take. Redis ends a blocking
	// read by its wall clock, so one under way when that is set back would last
	// as much longer.
	awaitSlack = time.Second
)

// Await returns when one of the tiers of the sources may hold something new,
// after the given time at the latest (at most 1 s; cancellation is noticed
// no sooner).
//
// It reads from the last entry delivered, never from $: what came between the
// last Read and now must wake it. Only the first new entry is fetched, and
// thrown away: delivering is Read's alone.
func (l *Lease) Await(ctx context.Context, sources []string, tiers []event.Tier, atMost time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	atMost = max(time.Millisecond, min(atMost, maxAwait)) // BLOCK 0 would be for ever
	var streams, from []string
	for _, source := range sources {
		for _, tier := range tiers {
			stream := l.s.keys.stream(l.shard, source, tier)
			streams, from = append(streams, stream), append(from, l.at(stream).last)
		}
	}
	if len(streams) == 0 {
		return pause(ctx, atMost)
	}
	within, cancel := context.WithTimeout(ctx, atMost+awaitSlack)
	defer cancel()
	err := l.s.blocking.XRead(within, &redis.XReadArgs{
		Streams: append(streams, from...), Count: 1, Block: atMost,
	}).Err()
	if err == nil || errors.Is(err, redis.Nil) || strings.HasPrefix(err.Error(), "UNBLOCKED") {
		return nil // the last: a stream is gone, which Read repairs
	}
	// The connection's deadline is that of within, and may be noticed before it.
	if late := errors.Is(err, os.ErrDeadlineExceeded) || within.Err() != nil; late && ctx.Err() == nil {
		return nil // nothing is lost with the answer: it only wakes up
	}
	return fmt.Errorf("await shard %d: %w", l.shard, err)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if !loops.Sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}
