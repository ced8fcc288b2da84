package stream

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The commands of callers that come together travel together, also where Redis knows no
// script any more.
func TestLocksShareRoundTrips(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	c := srv.Client()
	reads := func() float64 { return infoNumber(c.Info(t.Context(), "stats").Val(), "total_reads_processed") }
	const callers, rounds = 100, 10
	begun := reads()
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for n := range rounds {
				unlock, ok := s.Lock(t.Context(), order(fmt.Sprint(i, "-", n)))
				if !ok {
					t.Error("a lock of its own is free")
				}
				unlock()
			}
		})
	}
	all.Wait()
	require.Less(t, reads()-begun, float64(2*callers*rounds)/3)
	require.NoError(t, c.ScriptFlush(t.Context()).Err())
	unlock, ok := s.Lock(t.Context(), order("a"))
	require.True(t, ok)
	unlock()
	unlock, ok = s.Lock(t.Context(), order("a"))
	require.True(t, ok)
	unlock()
}

// All leases are renewed at once. One that is lost fails alone.
func TestRenewAll(t *testing.T) {
	t.Parallel()
	for _, kind := range proxied {
		t.Run(kind.name, func(t *testing.T) {
			url, _ := kind.start(t)
			o := quiet(url)
			o.Shards = 8
			s := openStreams(t, o)
			var leases []*Lease
			for shard := range o.Shards {
				l, err := s.Acquire(t.Context(), shard, "w1", []string{"lemon"})
				require.NoError(t, err)
				leases = append(leases, l)
			}
			require.NoError(t, leases[3].Release(t.Context()))
			for range 2 { // the first time Redis does not know the script
				for i, err := range s.RenewAll(t.Context(), leases) {
					if i == 3 {
						require.ErrorIs(t, err, ErrFenced)
						require.False(t, leases[i].Valid())
						continue
					}
					require.NoError(t, err)
					require.True(t, leases[i].Valid())
					require.WithinDuration(t, time.Now(), leases[i].sent, s.opts.LeaseTTL/5)
				}
			}
		})
	}
}

// A lock whose caller has gone while its command waited is not taken, whether other
// commands wait or not: it would keep the next caller out until it expires.
func TestNoLockIsTakenForACallerThatHasGone(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	c := srv.Client()
	g := &s.shared
	for others := range 2 {
		g.mu.Lock()
		g.underWay = sharedUnderWay // so that commands wait
		g.mu.Unlock()
		queued := func(n int) bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return len(g.waiting) == n
		}
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			_, err := lockConn{ctx, s}.SetNX("gone", "x", time.Minute)
			gone <- err
		}()
		require.Eventually(t, func() bool { return queued(1) }, soon, time.Millisecond)
		cancel()
		require.ErrorIs(t, <-gone, context.Canceled)
		var all sync.WaitGroup
		for range others {
			all.Go(func() {
				ok, err := lockConn{t.Context(), s}.SetNX("other", "x", time.Minute)
				assert.NoError(t, err)
				assert.True(t, ok)
			})
		}
		require.Eventually(t, func() bool { return queued(1 + others) }, soon, time.Millisecond)
		g.send()
		all.Wait()
		require.Zero(t, c.Exists(t.Context(), "gone").Val())
		require.EqualValues(t, others, c.Exists(t.Context(), "other").Val())
	}
}
