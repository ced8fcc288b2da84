package stream

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestLockExcludes(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	unlock, ok := s.Lock(t.Context(), order("a"))
	require.True(t, ok)
	unlockB, ok := s.Lock(t.Context(), order("b"))
	require.True(t, ok, "another entity has another lock")
	unlockB()

	took := make(chan bool, 1)
	go func() {
		unlock, ok := s.Lock(t.Context(), order("a"))
		unlock()
		took <- ok
	}()
	select {
	case <-took:
		t.Fatal("two hold one lock")
	case <-time.After(100 * time.Millisecond):
	}
	unlock()
	require.True(t, <-took)
	require.Zero(t, srv.Client().Exists(t.Context(), s.keys.lock(0, order("a").String())).Val())
}

func TestUnlockWorksThoughTheWorkWasCancelled(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	unlock, ok := s.Lock(ctx, order("a"))
	require.True(t, ok)
	cancel()
	unlock()
	require.Zero(t, srv.Client().Exists(t.Context(), s.keys.lock(0, order("a").String())).Val())
}

func TestLockIsGivenUp(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		ttl  time.Duration
		do   func(*redistest.Server, context.CancelFunc)
	}{
		{"when it stays taken", 300 * time.Millisecond, func(*redistest.Server, context.CancelFunc) {}},
		{"when cancelled", time.Minute, func(_ *redistest.Server, cancel context.CancelFunc) { cancel() }},
		{"when redis is away", time.Minute, func(srv *redistest.Server, _ context.CancelFunc) { srv.Kill() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := redistest.Start(t)
			o := quiet(srv.URL())
			o.LeaseTTL = tt.ttl
			s := openStreams(t, o)
			// Another worker's lock, for good.
			require.NoError(t, srv.Client().Set(t.Context(), s.keys.lock(0, order("a").String()), "x", 0).Err())
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			took := make(chan bool, 1)
			go func() {
				unlock, ok := s.Lock(ctx, order("a"))
				unlock()
				took <- ok
			}()
			tt.do(srv, cancel)
			select {
			case ok := <-took:
				require.False(t, ok)
			case <-time.After(time.Minute):
				t.Fatal("still waiting for the lock")
			}
		})
	}
}
