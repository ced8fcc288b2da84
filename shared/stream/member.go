package stream

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Member is one worker's place in the fleet. It is for one goroutine.
//
// Redis can lose all heartbeats and leases at once: it was emptied, it started again
// with old data, or its clock was set forward. Its holders trust their leases for a
// while longer, and a worker that asks before they do finds itself alone and every
// lease free. So a member whose own heartbeat was lost takes no lease for one TTL,
// after which no former holder trusts one, but those that it still trusts itself. A
// member that was not in the fleet before takes what is free at once.
type Member struct {
	s      *Streams
	worker string
	// token is the next heartbeat's; it stays until one was answered, so that a
	// heartbeat whose answer was lost is known again.
	token string
	// sent is when the last answered heartbeat was sent; zero before the first.
	sent time.Time
	// waits is until when nothing is taken.
	waits time.Time
}

// Member returns the place of worker, which is not in the fleet yet.
func (s *Streams) Member(worker string) *Member {
	return &Member{s: s, worker: worker, token: rand.Text()}
}

// Beat keeps the worker alive for one lease TTL and returns all live workers, sorted.
// A heartbeat lasts as long as a lease, so a dead worker is off the list by the time
// its leases have run out.
func (m *Member) Beat(ctx context.Context) ([]string, error) {
	live, _, err := m.BeatAndRead(ctx, nil)
	return live, err
}

// BeatAndRead is Beat, and reads the news of sources in the same round trip (see
// Streams.Sources). They are nil without sources, and if the heartbeat alone was answered.
func (m *Member) BeatAndRead(ctx context.Context, sources []string) (live []string, news []SourceNews, err error) {
	sent := m.s.opts.Now()
	calls := []scriptCall{m.s.heartbeatCall("heartbeat of "+m.worker, m.worker, m.token)}
	if len(sources) > 0 {
		calls = append(calls, m.s.sourcesCall(sources))
	}
	replies, errs := runCalls(ctx, m.s.client, calls...)
	if errs[0] != nil {
		return nil, nil, errs[0]
	}
	fresh, live := heartbeatReply(replies[0])
	if len(sources) > 0 && errs[1] == nil {
		news = sourcesReply(replies[1], sources)
	}
	now := m.s.opts.Now()
	if fresh && !m.sent.IsZero() && now.Sub(m.sent) < m.s.opts.LeaseTTL {
		m.waits = now.Add(m.s.opts.LeaseTTL)
		m.s.opts.Logger.Warn("redis has lost the heartbeat of this worker, and maybe leases; no shard of another worker is taken for a lease's time",
			"worker", m.worker, "wait", m.s.opts.LeaseTTL.String())
	}
	m.sent, m.token = sent, rand.Text()
	return live, news, nil
}

// MayTake reports whether the member may take a lease that is free in Redis, by
// what its last heartbeat found. former is its own last lease of the same shard, if
// it ended with ErrFenced; nil if there is none.
func (m *Member) MayTake(former *Lease) bool {
	return !m.s.opts.Now().Before(m.waits) || former != nil && former.trusted()
}

// Leave removes the worker from the live ones.
func (m *Member) Leave(ctx context.Context) error {
	m.sent = time.Time{}
	if err := m.s.client.ZRem(ctx, m.s.keys.workers(), m.worker).Err(); err != nil {
		return fmt.Errorf("take %s out of the live workers: %w", m.worker, err)
	}
	return nil
}

// heartbeatCall returns the live workers, and lets one be one of them unless it is "".
func (s *Streams) heartbeatCall(doing, worker, token string) scriptCall {
	return scriptCall{
		heartbeatScript, doing, []string{s.keys.workers(), s.keys.shardCount(), s.keys.joined(worker)},
		[]any{worker, milliseconds(s.opts.LeaseTTL), s.opts.Shards, token},
	}
}

// heartbeatReply reads the answer to heartbeatCall. fresh: the worker was not live before.
func heartbeatReply(v any) (fresh bool, live []string) {
	answer := asList(v)
	live = texts(answer[1])
	slices.Sort(live)
	return asInt(answer[0]) == 1, live
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

	// The best pairs first, each shard once, no worker above the bound. All shards
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
