package stream

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fault"
)

// validShare is the part of the TTL, from when the last confirmed renewal was
// sent, in which the holder trusts its lease. The rest is for clocks that run
// at different speeds and for what is on its way.
const validShare = 0.8

// Lease is the right to read one shard. Its methods fail with ErrFenced once
// another worker has it, or Redis has lost it. Safe for concurrent use, but one
// stream is read by one caller at a time.
type Lease struct {
	s     *Streams
	what  string // "shard 7"
	shard int
	key   string
	owner string
	epoch int64

	mu      sync.Mutex
	sent    time.Time           // when the last confirmed renewal was sent
	lost    bool                // a script answered FENCED
	step    int64               // number of the last command that carried one
	reading map[string]*reading // by stream key

	due *dueTimes
}

// Acquire takes the lease of a shard, or fails with ErrHeld. The epoch is
// larger than any before, also after Redis lost everything (it follows the
// clock). The consumer groups of sources are made where missing, from id 0.
// A worker that has the lease already gets it again with a larger epoch.
func (s *Streams) Acquire(ctx context.Context, shard int, worker string, sources []string) (*Lease, error) {
	if shard < 0 || shard >= s.opts.Shards {
		return nil, fmt.Errorf("acquire shard %d: there are %d, from 0", shard, s.opts.Shards)
	}
	key := s.keys.lease(shard)
	if fault.Off("leases") {
		key += ":" + worker // every worker has one
	}
	keys := []string{s.keys.epoch(shard)}
	for _, source := range sources {
		keys = append(keys,
			s.keys.stream(shard, source, event.TierLive), s.keys.stream(shard, source, event.TierBackground))
	}
	l, err := s.acquire(ctx, "shard "+strconv.Itoa(shard), key, keys, worker, 0)
	if err != nil {
		return nil, err
	}
	l.shard = shard
	return l, nil
}

// acquire takes the lease named what. keys follow it in KEYS of the script. The epoch
// is remembered for a time, 0: for ever.
func (s *Streams) acquire(ctx context.Context, what, key string, keys []string, owner string, remember time.Duration) (*Lease, error) {
	doing := "acquire " + what
	sent := s.opts.Now()
	v, err := run(ctx, s.client, acquireScript, doing, append([]string{key}, keys...),
		owner, rand.Text(), milliseconds(s.opts.LeaseTTL), group, milliseconds(remember))
	if err != nil {
		return nil, err
	}
	epoch, err := strconv.ParseInt(asText(v), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%s: epoch: %w", doing, err)
	}
	return &Lease{
		s: s, what: what, key: key, owner: owner, epoch: epoch, sent: sent, reading: map[string]*reading{},
		due: newDueTimes(),
	}, nil
}

// Shard returns the shard.
func (l *Lease) Shard() int { return l.shard }

// Epoch returns the epoch.
func (l *Lease) Epoch() int64 { return l.epoch }

// Renew extends the lease to a full TTL. It gives up after a third of the TTL,
// so that there is time for another try before the lease counts as lost.
func (l *Lease) Renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.s.opts.LeaseTTL/3)
	defer cancel()
	sent := l.s.opts.Now()
	if _, err := l.run(ctx, renewScript, "renew", nil, milliseconds(l.s.opts.LeaseTTL)); err != nil {
		return err
	}
	l.renewed(sent)
	return nil
}

// renewed notes that a renewal was confirmed.
func (l *Lease) renewed(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent.After(l.sent) {
		l.sent = sent
	}
}

// RenewAll renews leases, in one round trip to each server, and returns the error of
// each. It gives up after a fifth of the TTL: with RenewEvery between the sending of two
// renewals there is time for another try before a lease counts as lost.
func (s *Streams) RenewAll(ctx context.Context, leases []*Lease) []error {
	errs := make([]error, len(leases))
	ctx, cancel := context.WithTimeout(ctx, s.opts.LeaseTTL/5)
	defer cancel()
	sent := s.opts.Now()
	ttl := milliseconds(s.opts.LeaseTTL)
	pipe := s.client.Pipeline()
	replies := make([]*redis.Cmd, len(leases))
	for i, l := range leases {
		replies[i] = pipe.EvalSha(ctx, renewScript.Hash(), []string{l.key}, l.owner, l.epoch, ttl)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for i, l := range leases {
		err := replies[i].Err()
		if err == nil {
			l.renewed(sent)
			continue
		}
		if errs[i] = l.noteFence(explain(err, "renew "+l.what)); noScript(err) {
			errs[i] = l.Renew(ctx) // which loads it
		}
	}
	return errs
}

// RenewEvery is how long after a call of RenewAll began the next is to begin.
func (s *Streams) RenewEvery() time.Duration { return s.opts.LeaseTTL * 2 / 5 }

// Valid reports whether the lease is surely ours by our own monotonic clock:
// less than 0.8 TTL since the last confirmed renewal was sent, and no call has
// failed with ErrFenced.
func (l *Lease) Valid() bool {
	return !l.fenced() && l.trusted()
}

// trusted reports whether the lease would be ours, by our own clock, had Redis not
// lost it.
func (l *Lease) trusted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s.opts.Now().Sub(l.sent) < time.Duration(validShare*float64(l.s.opts.LeaseTTL))
}

// Begin reports when, by Redis' clock, the lease was ours: a request that changes
// something is sent soon after it, or not at all.
func (l *Lease) Begin(ctx context.Context) (time.Time, error) {
	v, err := l.run(ctx, beginScript, "begin a request under", nil)
	if err != nil {
		return time.Time{}, err
	}
	return time.UnixMilli(asInt(v)).UTC(), nil
}

// Release gives the lease up so that another can take it at once. One that is
// no longer ours needs no releasing: nil.
func (l *Lease) Release(ctx context.Context) error {
	_, err := l.run(ctx, releaseScript, "release", nil)
	if errors.Is(err, ErrFenced) {
		return nil
	}
	return err
}

// run runs a fenced script: before the given keys come the lease's key, before
// the arguments owner and epoch. A lease that was fenced once is not asked for
// again: its epoch never comes back.
func (l *Lease) run(ctx context.Context, s *redis.Script, doing string, keys []string, args ...any) (any, error) {
	return l.runBy(func(doing string, keys []string, args ...any) (any, error) {
		return run(ctx, l.s.client, s, doing, keys, args...)
	}, doing, keys, args)
}

// runShared is run for a short script of which many run at once.
func (l *Lease) runShared(ctx context.Context, s *redis.Script, doing string, keys []string, args ...any) (any, error) {
	return l.runBy(func(doing string, keys []string, args ...any) (any, error) {
		return l.s.runShared(ctx, s, doing, keys, args...)
	}, doing, keys, args)
}

func (l *Lease) runBy(run func(doing string, keys []string, args ...any) (any, error), doing string, keys []string, args []any) (any, error) {
	doing += " " + l.what
	if l.fenced() {
		return nil, fmt.Errorf("%s: %w", doing, ErrFenced)
	}
	v, err := run(doing, append([]string{l.key}, keys...), append([]any{l.owner, l.epoch}, args...)...)
	return v, l.noteFence(err)
}

// noteFence remembers if err says that the lease is lost, and returns it.
func (l *Lease) noteFence(err error) error {
	if errors.Is(err, ErrFenced) {
		l.mu.Lock()
		l.lost = true
		l.mu.Unlock()
	}
	return err
}

func (l *Lease) fenced() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// next numbers a command. Numbers grow, so Redis can tell a late one.
func (l *Lease) next() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.step++
	return l.step
}
