package stream

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-sync/tarn/shared/event"
)

// forgetAtOnce is how many entries, and how many parked entities, one command
// of Forget removes.
const forgetAtOnce = 500

// Remember stores names of sources the fleet has or had, so that their keys can
// be found once they are no longer configured.
func (s *Streams) Remember(ctx context.Context, sources []string) error {
	if len(sources) == 0 {
		return nil
	}
	if err := s.client.SAdd(ctx, s.keys.sources(), anys(sources)...).Err(); err != nil {
		return fmt.Errorf("remember the sources: %w", err)
	}
	return nil
}

// UnconfiguredSource is a source whose work waits and that is not configured.
type UnconfiguredSource struct {
	Source string
	ShardSource
}

// Former returns the remembered sources other than those configured, by name.
func (s *Streams) Former(ctx context.Context, configured []string) ([]string, error) {
	known, err := s.client.SMembers(ctx, s.keys.sources()).Result()
	if err != nil {
		return nil, fmt.Errorf("read the former sources: %w", err)
	}
	known = slices.DeleteFunc(known, func(name string) bool { return slices.Contains(configured, name) })
	slices.Sort(known)
	return known, nil
}

// Unconfigured returns the sources other than those configured whose work waits in
// Redis, by name.
func (s *Streams) Unconfigured(ctx context.Context, configured []string) ([]UnconfiguredSource, error) {
	known, err := s.Former(ctx, configured)
	if err != nil || len(known) == 0 {
		return nil, err
	}
	if quiet, err := s.Quiet(ctx, known); err == nil && quiet {
		return nil, nil
	}
	shards, err := s.states(ctx, known, spilledLooked)
	if err != nil {
		return nil, err
	}
	var found []UnconfiguredSource
	totals := Totals(shards, known)
	for _, name := range known {
		u := UnconfiguredSource{Source: name, ShardSource: totals[name]}
		if u.Live+u.Background+u.Parked > 0 {
			found = append(found, u)
		}
	}
	return found, nil
}

// Forgotten is what Forget removed: live entries, and parked entities. Background
// entries are removed too, and not counted.
type Forgotten struct{ Entries, Parked int64 }

// Forget removes everything that waits of a source from Redis. Before live
// entries are removed they are given to log, by shard, which must keep the
// events among them. Cut off, it is called again and goes on.
//
// No lease is held meanwhile, so a worker with older settings may still read the
// source. No event is lost by that: each live entry is logged before it is
// removed, and parked entries were logged before they were parked. The worker still
// fetches and writes what it has in flight, guarded by its claim; its ack of an entry
// that is gone does nothing. Once the streams are gone the worker makes its consumer
// group again, as after Redis was emptied. What arrives or is parked in a shard that
// has been cleared stays, shows up in Unconfigured again, and the next call removes
// it. Only background entries have no row in the log; the next sweep finds their
// entities if the source is configured again.
func (s *Streams) Forget(ctx context.Context, source string, log func(shard int, entries []event.Entry) error) (sum Forgotten, err error) {
	for shard := range s.opts.Shards {
		for left := true; left; {
			entries, err := s.Peek(ctx, shard, source, event.TierLive, forgetAtOnce)
			if err != nil {
				return sum, err
			}
			if err := log(shard, entries); err != nil {
				return sum, err
			}
			parked, more, err := s.forgetSome(ctx, shard, source, entries)
			if err != nil {
				return sum, err
			}
			sum.Entries, sum.Parked, left = sum.Entries+int64(len(entries)), sum.Parked+parked, more
		}
	}
	return sum, nil
}

func (s *Streams) forgetSome(ctx context.Context, shard int, source string, entries []event.Entry) (parked int64, left bool, err error) {
	keys := []string{
		s.keys.stream(shard, source, event.TierLive), s.keys.stream(shard, source, event.TierBackground),
		s.keys.due(shard, source), s.keys.earliest(shard, source), s.keys.hints(shard, source),
	}
	args := []any{s.keys.parkedPrefix(shard), s.keys.recordPrefix(shard), forgetAtOnce}
	for _, e := range entries {
		args = append(args, e.ID)
		if e.Err == nil && e.Signal.Body != nil {
			keys = append(keys, s.keys.mark(shard, source, e.Signal.Body.ID))
		}
	}
	v, err := run(ctx, s.client, forgetScript, fmt.Sprintf("forget %s in shard %d", source, shard), keys, args...)
	if err != nil {
		return 0, false, err
	}
	got := asList(v)
	return asInt(got[0]), asInt(got[1])+asInt(got[2]) > 0, nil
}

// Waits returns how long the oldest entry has waited.
func (u UnconfiguredSource) Waits() time.Duration { return max(u.Oldest, u.OldestBackground) }
