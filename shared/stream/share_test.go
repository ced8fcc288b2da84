package stream

import (
	"fmt"
	"sync"
	"testing"
	"time"

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
