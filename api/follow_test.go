package api

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/feed"
	"github.com/tarn-sync/tarn/shared/storage"
)

// belled is a store that counts how often the head of its feed is read, and has a bell.
type belled struct {
	*fakeStore
	head  atomic.Int64
	reads atomic.Int64
	watch func(ctx context.Context, ring func()) error
}

func (s *belled) FeedHead(context.Context, string) (*storage.Batch, error) {
	s.reads.Add(1)
	return &storage.Batch{Source: "lemon", Gen: "G", Tag: "T", First: s.head.Load(), Len: 1}, nil
}

func (s *belled) WatchFeed(ctx context.Context, _ string, ring func()) error {
	return s.watch(ctx, ring)
}

// Followers are woken at once by a bell, and the head is read seldom while it can be heard.
// Without a bell, and after it has broken off, the head is read often.
func TestFollowersAreWokenByABell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ring func()
		breaks := make(chan error)
		s := &belled{fakeStore: &fakeStore{}, watch: func(ctx context.Context, r func()) error {
			ring = r
			ring() // it listens
			select {
			case err := <-breaks:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		s.head.Store(1)
		h := newHub(s, feed.View{}, slog.New(slog.DiscardHandler))
		leave, ok := h.join("lemon")
		require.True(t, ok)
		readsIn := func(d time.Duration) int {
			before := s.reads.Load()
			time.Sleep(d)
			synctest.Wait()
			return int(s.reads.Load() - before)
		}
		synctest.Wait()
		require.LessOrEqual(t, readsIn(10*time.Second), int(10*time.Second/pollHeard)+1)

		next := h.nextRing("lemon")
		s.head.Store(2)
		ring()
		synctest.Wait() // no time passes
		select {
		case <-next.rung:
		default:
			require.Fail(t, "the bell wakes no follower")
		}

		next = h.nextRing("lemon")
		s.head.Store(3) // and the bell misses it
		time.Sleep(pollHeard + time.Millisecond)
		synctest.Wait()
		select {
		case <-next.rung:
		default:
			require.Fail(t, "what the bell misses is not found")
		}

		breaks <- errors.New("the primary has stepped down")
		synctest.Wait()
		time.Sleep(pollHeard)
		require.GreaterOrEqual(t, readsIn(time.Second), int(time.Second/pollEvery)-1)
		time.Sleep(storage.BellEvery)
		synctest.Wait()
		require.LessOrEqual(t, readsIn(time.Second), int(time.Second/pollHeard)+1, "it is listened to again")

		breaks <- storage.ErrNoBell
		synctest.Wait()
		leave()
		synctest.Wait()
	})
}

// Where the database has no bell the head is read often from the start.
func TestFollowersWithoutABell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		s := &belled{fakeStore: &fakeStore{}, watch: func(context.Context, func()) error { asked++; return storage.ErrNoBell }}
		s.head.Store(1)
		h := newHub(s, feed.View{}, slog.New(slog.DiscardHandler))
		leave, _ := h.join("lemon")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.GreaterOrEqual(t, int(s.reads.Load()), int(time.Minute/pollEvery)-1)
		require.Equal(t, 1, asked)
		leave()
		synctest.Wait()
	})
}

// A read that panics is an error for all who share it, and the next one is made.
func TestAReadThatPanics(t *testing.T) {
	h := newHub(&fakeStore{}, feed.View{}, slog.New(slog.DiscardHandler))
	key := readKey{source: "lemon"}
	_, err := h.share(t.Context(), key, func(context.Context) (*part, error) { panic("boom") })
	require.ErrorContains(t, err, "boom")
	p, err := h.share(t.Context(), key, func(context.Context) (*part, error) { return &part{more: true}, nil })
	require.NoError(t, err)
	require.True(t, p.more)
}
