package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/event"
)

// maxHints is how many hints of a source a shard holds, about 15 MB.
const maxHints = 100_000

// Hint says that the change feed may lack a version of an entity.
type Hint struct {
	Key     event.Key
	Version int64
}

// text is the hint as Redis has it.
func (h Hint) text() string {
	b := strconv.AppendInt(make([]byte, 0, keyRoom), h.Version, 10)
	return string(h.Key.AppendTo(append(b, ' ')))
}

func parseHint(text string) (h Hint, err error) {
	version, key, _ := strings.Cut(text, " ")
	if h.Version, err = strconv.ParseInt(version, 10, 64); err == nil {
		h.Key, err = event.ParseKey(key)
	}
	if err != nil {
		return Hint{}, fmt.Errorf("hint %q of the change feed: %w", text, err)
	}
	return h, nil
}

// FeedTask is the name of the task whose holder is the sequencer of a source.
const FeedTask = "feed"

func feedTask(source string) string { return FeedTask + "/" + source }

// leaveHints leaves hints and removes nothing.
func (l *Lease) leaveHints(ctx context.Context, source string, hints []Hint) error {
	args := []any{group, maxHints, len(hints)}
	for _, h := range hints {
		args = append(args, h.text())
	}
	keys := []string{l.s.keys.stream(l.shard, source, event.TierLive), l.s.keys.hints(l.shard, source)}
	_, err := l.runShared(ctx, ackScript, "leave hints on", keys, args...)
	return err
}

// ShardHints are the oldest hints of a source in a shard.
type ShardHints struct {
	Shard int
	Hints []Hint
	// Oldest is when the first was left, by Redis' clock.
	Oldest time.Time
	// More: there may be more.
	More bool
	// Unreadable are texts that are not hints. DropHints removes them too.
	Unreadable []string
}

// Hints returns up to most hints of a source in each of some shards, in one round trip
// to each server. Shards without hints are left out.
func (s *Streams) Hints(ctx context.Context, source string, shards []int, most int) ([]ShardHints, error) {
	pipe := s.client.Pipeline()
	found := make([]*redis.ZSliceCmd, len(shards))
	for i, shard := range shards {
		found[i] = pipe.ZRangeWithScores(ctx, s.keys.hints(shard, source), 0, int64(most-1))
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read the hints of %s: %w", source, err)
	}
	var out []ShardHints
	for i, f := range found {
		members := f.Val()
		if len(members) == 0 {
			continue
		}
		at := ShardHints{Shard: shards[i], Oldest: time.UnixMilli(int64(members[0].Score)).UTC(), More: len(members) == most}
		for _, m := range members {
			text, _ := m.Member.(string)
			if h, err := parseHint(text); err == nil {
				at.Hints = append(at.Hints, h)
			} else {
				at.Unreadable = append(at.Unreadable, text)
			}
		}
		out = append(out, at)
	}
	return out, nil
}

// DropHints removes hints, in one round trip to each server. A later version of the same
// entity stays.
func (s *Streams) DropHints(ctx context.Context, source string, taken []ShardHints) error {
	pipe := s.client.Pipeline()
	for _, at := range taken {
		texts := anys(at.Unreadable)
		for _, h := range at.Hints {
			texts = append(texts, h.text())
		}
		if len(texts) > 0 {
			pipe.ZRem(ctx, s.keys.hints(at.Shard, source), texts...)
		}
	}
	if pipe.Len() == 0 {
		return nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("remove hints of %s: %w", source, err)
	}
	return nil
}

// BellOfCommands stands among shards for which a bell rings: commands have come to rest.
const BellOfCommands = -1

// Ring wakes the sequencers of sources, for the hints in some shards of each, or for their
// commands.
func (s *Streams) Ring(ctx context.Context, shards map[string][]int) error {
	var calls []scriptCall
	for source, of := range shards {
		args := make([]any, len(of))
		for i, shard := range of {
			args[i] = shard
		}
		calls = append(calls, scriptCall{ringScript, "ring for " + source, []string{s.keys.bell(source)}, args})
	}
	_, errs := runCalls(ctx, s.client, calls...)
	return errors.Join(errs...)
}

// OldestHint returns for how long the oldest hint of a source has waited, by Redis'
// clock: 0 if there is none. On a single Redis one command looks at many shards.
func (s *Streams) OldestHint(ctx context.Context, source string) (oldest time.Duration, err error) {
	_, apart := s.client.(*redis.ClusterClient) // shards lie on different nodes
	atOnce := quietAtOnce
	if apart {
		atOnce = 1
	}
	keys := make([]string, s.opts.Shards)
	for shard := range keys {
		keys[shard] = s.keys.hints(shard, source)
	}
	var calls []scriptCall
	for part := range slices.Chunk(keys, atOnce) {
		calls = append(calls, scriptCall{oldestHintScript, "look for the oldest hint of " + source, part, nil})
	}
	replies, errs := runCalls(ctx, s.client, calls...)
	for _, v := range replies {
		oldest = max(oldest, time.Duration(asInt(v))*time.Millisecond)
	}
	return oldest, errors.Join(errs...)
}

// FeedHead says how far the log of a change feed has come. The zero value: nothing is
// known.
type FeedHead struct {
	Gen      string
	Position int64
	Tag      string
}

// TellFeed notes how far the log has come. The task must be a source's FeedTask.
func (t *TaskLease) TellFeed(ctx context.Context, h FeedHead) error {
	source := strings.TrimPrefix(t.name, FeedTask+"/")
	_, err := t.lease.run(ctx, tellFeedScript, "tell how far it has come on", []string{t.lease.s.keys.feedHead(source)}, h.Gen, h.Position, h.Tag)
	return err
}

// FeedHead returns what TellFeed has noted last.
func (s *Streams) FeedHead(ctx context.Context, source string) (FeedHead, error) {
	v, err := s.client.HMGet(ctx, s.keys.feedHead(source), "gen", "position", "tag").Result()
	if err != nil {
		return FeedHead{}, fmt.Errorf("ask how far the feed of %s has come: %w", source, err)
	}
	return FeedHead{Gen: asText(v[0]), Position: asInt(v[1]), Tag: asText(v[2])}, nil
}

// Bell waits until hints of a source were left. It has a connection of its own and is
// for one goroutine.
type Bell struct {
	s      *Streams
	source string
	client *redis.Client
}

// Bell returns the bell of a source, to be closed.
func (s *Streams) Bell(source string) *Bell { return &Bell{s: s, source: source} }

// Wait waits for a time, rounded up to seconds, until the bell rings, and returns the
// shards it rang for, or BellOfCommands among them; none if it did not. After an error
// nothing is known of any shard: the rings may have been taken.
func (b *Bell) Wait(ctx context.Context, atMost time.Duration) (shards []int, err error) {
	defer func() {
		if err != nil {
			b.Close() // the next wait may have to go to another Redis
			err = fmt.Errorf("wait for the bell of %s: %w", b.source, err)
		}
	}()
	key := b.s.keys.bell(b.source)
	if b.client == nil {
		if b.client, err = b.s.dedicated(ctx, key); err != nil {
			return nil, err
		}
	}
	atMost = max(time.Second, (atMost + time.Second - 1).Truncate(time.Second))
	within, cancel := context.WithTimeout(ctx, atMost+waitSlack)
	defer cancel()
	client := b.client
	defer context.AfterFunc(ctx, func() { _ = client.Close() })() // which ends the wait at once
	first, err := client.BZPopMin(within, atMost, key).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	rung, err := run(ctx, b.s.client, rungScript, "answer the bell of "+b.source, []string{key})
	if err != nil {
		return nil, err
	}
	text, _ := first.Member.(string)
	for _, shard := range append(texts(rung), text) {
		if n, err := strconv.Atoi(shard); err == nil && n >= BellOfCommands && n < b.s.opts.Shards {
			shards = append(shards, n)
		}
	}
	return shards, nil
}

// Close closes the connection. The Bell may be used again.
func (b *Bell) Close() {
	if b.client != nil {
		_ = b.client.Close() // it waits only
		b.client = nil
	}
}
