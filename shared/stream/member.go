package stream

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Heartbeat says that worker is alive for one lease TTL, so that a dead one's
// shards are shared out when its leases run out and no later; and returns all
// live workers, sorted.
func (s *Streams) Heartbeat(ctx context.Context, worker string) ([]string, error) {
	return s.heartbeat(ctx, "heartbeat of "+worker, worker)
}

// heartbeat returns the live workers, and lets one be one of them unless it is
// "".
func (s *Streams) heartbeat(ctx context.Context, doing, worker string) ([]string, error) {
	v, err := run(ctx, s.client, heartbeatScript, doing,
		[]string{s.keys.workers(), s.keys.shardCount()},
		worker, milliseconds(s.opts.LeaseTTL), s.opts.Shards)
	if err != nil {
		return nil, err
	}
	live := texts(v)
	slices.Sort(live)
	return live, nil
}

// Leave takes worker out of the live ones.
func (s *Streams) Leave(ctx context.Context, worker string) error {
	if err := s.client.ZRem(ctx, s.keys.workers(), worker).Err(); err != nil {
		return fmt.Errorf("take %s out of the live workers: %w", worker, err)
	}
	return nil
}

// FairShare returns the shards that fall to self among live workers:
// rendezvous hashing with a bound of ceil(shards/workers) a worker, so every
// worker computes the same division from the same list and one that comes or
// goes moves few shards. None if self is not live.
func FairShare(live []string, shards int, self string) []int {
	live = slices.Compact(slices.Sorted(slices.Values(live)))
	if shards <= 0 || !slices.Contains(live, self) {
		return nil
	}
	type pair struct {
		worker, shard int
		score         uint64
	}
	pairs := make([]pair, 0, len(live)*shards)
	for w, name := range live {
		for shard := range shards {
			pairs = append(pairs, pair{w, shard, xxhash.Sum64String(name + "/" + strconv.Itoa(shard))})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.worker, b.worker), cmp.Compare(a.shard, b.shard))
	})

	// The best pairs first, each shard once, nobody above the bound. All shards
	// find a worker, since the bounds add up to at least their number.
	bound := (shards + len(live) - 1) / len(live)
	has, taken := make([]int, len(live)), make([]bool, shards)
	var share []int
	for _, p := range pairs {
		if taken[p.shard] || has[p.worker] == bound {
			continue
		}
		taken[p.shard] = true
		has[p.worker]++
		if live[p.worker] == self {
			share = append(share, p.shard)
		}
	}
	slices.Sort(share)
	return share
}
