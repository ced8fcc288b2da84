package stream

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

func TestLeaseHasOneHolder(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	first := acquired(t, s, "w1")
	require.True(t, first.Valid())
	_, err := s.Acquire(t.Context(), 0, "w2", nil)
	require.ErrorIs(t, err, ErrHeld)

	require.NoError(t, first.Release(t.Context()))
	require.NoError(t, first.Release(t.Context()), "releasing what is released is no error")
	second := acquired(t, s, "w2")
	require.Greater(t, second.Epoch(), first.Epoch())
	require.ErrorIs(t, first.Renew(t.Context()), ErrFenced)
	require.False(t, first.Valid())
	require.NoError(t, first.Release(t.Context()))
	require.NoError(t, second.Renew(t.Context()), "a late release must not end the successor's lease")
}

func TestSameWorkerAcquiresAgain(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	first := acquired(t, s, "w1")
	second := acquired(t, s, "w1")
	require.Greater(t, second.Epoch(), first.Epoch())
	require.ErrorIs(t, first.Renew(t.Context()), ErrFenced)
	require.NoError(t, second.Renew(t.Context()))
}

func TestLeaseRunsOut(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	o := quiet(srv.URL())
	o.LeaseTTL = 100 * time.Millisecond
	s := openStreams(t, o)
	first := acquired(t, s, "w1")
	var second *Lease
	require.Eventually(t, func() bool {
		l, err := s.Acquire(t.Context(), 0, "w2", nil)
		second = l
		return err == nil
	}, soon, 5*time.Millisecond)
	require.Greater(t, second.Epoch(), first.Epoch())
	require.ErrorIs(t, first.Renew(t.Context()), ErrFenced)
}

func TestHolderStopsTrustingItsLeaseBeforeItEnds(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	now := time.Now()
	o := quiet(srv.URL())
	o.Now = func() time.Time { return now }
	s := openStreams(t, o)
	l := acquired(t, s, "w1")
	now = now.Add(o.LeaseTTL * 78 / 100)
	require.True(t, l.Valid())
	now = now.Add(o.LeaseTTL * 4 / 100) // 82 % of its time
	require.False(t, l.Valid())
	require.NoError(t, l.Renew(t.Context()))
	require.True(t, l.Valid())
}

func TestStaleHolderIsFencedEverywhere(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	old := ready(t, s, "w1")
	appended(t, s, happened("evt_1", "a"), happened("evt_2", "b"))
	got := readLive(t, old)
	require.NoError(t, old.Park(t.Context(), Park{Key: order("b"), Charged: got[1:], Attempt: 1, Delay: time.Hour}))
	stream := s.keys.stream(0, "lemon", event.TierLive)
	atFirst := old.at(stream)
	successor := ready(t, s, "w1") // the very same worker, later
	before := snapshot(t, s)

	ctx := t.Context()
	calls := map[string]func() error{
		"renew":  func() error { return old.Renew(ctx) },
		"read":   func() error { _, err := old.Read(ctx, "lemon", event.TierLive, Limits{}); return err },
		"ack":    func() error { return old.Ack(ctx, "lemon", event.TierLive, idsOf(got[:1]), []string{"evt_1"}) },
		"park":   func() error { return old.Park(ctx, Park{Key: order("a"), Charged: got[:1], Attempt: 1}) },
		"behind": func() error { _, err := old.ParkBehind(ctx, got[:1]); return err },
		"due":    func() error { _, _, err := dueOf(ctx, old, 1); return err },
		"defer":  func() error { return old.Defer(ctx, order("b"), 0) },
		"parked": func() error { _, _, err := old.Parked(ctx, order("b"), 0, 1); return err },
		"unpark": func() error { _, err := old.Unpark(ctx, order("b"), idsOf(got[1:]), nil, 0); return err },
		"takeover": func() error {
			_, err := old.TakeOver(ctx, "lemon", event.TierLive, func([]event.Entry) error { return nil })
			return err
		},
	}
	for name, call := range calls {
		old.lost = false // each call must find it out from Redis
		if name == "read" {
			old.set(stream, atFirst)
		}
		require.ErrorIs(t, call(), ErrFenced, name)
	}
	require.Equal(t, before, snapshot(t, s))
	require.NoError(t, successor.Ack(ctx, "lemon", event.TierLive, idsOf(got[:1]), nil))
}

func TestTakeOverGivesWhatWasLeftInOrder(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	var ids []string
	for i := range 2*takeOverPage + 50 {
		ids = append(ids, appended(t, s, happened(fmt.Sprint("evt_", i), fmt.Sprint(i%9)))...)
	}
	first := ready(t, s, "w1")
	for range 5 { // several reads, so several consumers hold parts of it
		_, err := first.Read(t.Context(), "lemon", event.TierLive, Limits{Count: 30})
		require.NoError(t, err)
	}
	require.NoError(t, first.Release(t.Context()))
	second := acquired(t, s, "w2")
	_, err := second.Read(t.Context(), "lemon", event.TierLive, Limits{})
	require.ErrorIs(t, err, ErrResync, "before anything new comes what was left")

	stream := s.keys.stream(0, "lemon", event.TierLive)
	require.NoError(t, srv.Client().XDel(t.Context(), stream, ids[3], ids[120]).Err())
	var got []string
	pages := 0
	lost, err := second.TakeOver(t.Context(), "lemon", event.TierLive, func(page []event.Entry) error {
		got = append(got, idsOf(page)...)
		pages++
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, lost)
	require.Equal(t, 2, pages)
	for {
		page := readLive(t, second)
		if len(page) == 0 {
			break
		}
		got = append(got, idsOf(page)...)
	}
	want := append(append([]string{}, ids[:3]...), append(append([]string{}, ids[4:120]...), ids[121:]...)...)
	require.Equal(t, want, got)
	consumers, err := srv.Client().XInfoConsumers(t.Context(), stream, group).Result()
	require.NoError(t, err)
	require.Len(t, consumers, 1, "former owners are dropped")
	require.Equal(t, "w2", consumers[0].Name)
}

func TestFailedTakeOverStaysOutOfStep(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	first := ready(t, s, "w1")
	appended(t, s, happened("evt_1", "a"))
	readLive(t, first)
	second := acquired(t, s, "w1")
	refuse := errors.New("store is away")
	_, err := second.TakeOver(t.Context(), "lemon", event.TierLive, func([]event.Entry) error { return refuse })
	require.ErrorIs(t, err, refuse)
	_, err = second.Read(t.Context(), "lemon", event.TierLive, Limits{})
	require.ErrorIs(t, err, ErrResync)
}

func TestFlushedRedisFencesAndStartsOver(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			urls := kind.urls(t)
			s := openStreams(t, quiet(urls...))
			ctx := t.Context()
			first := ready(t, s, "w1")
			task, err := s.Task(ctx, "gaps/lemon", "r1")
			require.NoError(t, err)
			appended(t, s, happened("evt_1", "a"), happened("evt_2", "b"))
			held := readLive(t, first)
			flushAll(t, s)
			// What comes now must reach the next holder, although it was there
			// before the group.
			ids := appended(t, s, happened("evt_3", "c"), happened("evt_1", "a"))

			before := snapshot(t, s)
			require.ErrorIs(t, first.Ack(ctx, "lemon", event.TierLive, idsOf(held[:1]), []string{"evt_1"}), ErrFenced)
			require.False(t, first.Valid())
			require.ErrorIs(t, first.Park(ctx, Park{Key: order("b"), Waiting: held[1:]}), ErrFenced)
			_, err = first.Read(ctx, "lemon", event.TierLive, Limits{})
			require.ErrorIs(t, err, ErrFenced)
			require.ErrorIs(t, first.Renew(ctx), ErrFenced)
			require.ErrorIs(t, task.Renew(ctx), ErrFenced)
			require.Equal(t, before, snapshot(t, s))

			second := ready(t, s, "w1")
			require.Greater(t, second.Epoch(), first.Epoch())
			require.Equal(t, ids, idsOf(readLive(t, second)))
			again, err := s.Task(ctx, "gaps/lemon", "r2")
			require.NoError(t, err)
			require.Greater(t, again.Epoch(), task.Epoch())

			_, err = s.Member("w1").Beat(ctx)
			require.NoError(t, err)
			other := quiet(urls...)
			other.Shards = 2
			_, err = Open(ctx, other)
			require.ErrorIs(t, err, ErrShards, "a heartbeat puts the number of shards back")
		})
	}
}

// flushAll makes every master lose everything.
func flushAll(t *testing.T, s *Streams) {
	t.Helper()
	require.NoError(t, s.onMasters(t.Context(), func(ctx context.Context, c *redis.Client) error {
		return c.FlushAll(ctx).Err()
	}))
}

func TestEpochGrowsThoughTheClockStandsBack(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	ahead := time.Now().Add(time.Hour).UnixMilli()
	require.NoError(t, srv.Client().Set(t.Context(), s.keys.epoch(0), ahead, 0).Err())
	require.Equal(t, ahead+1, acquired(t, s, "w1").Epoch())
}

func TestLostGroupRepairsItself(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	l := ready(t, s, "w1")
	ids := appended(t, s, happened("evt_1", "a"))
	stream := s.keys.stream(0, "lemon", event.TierLive)
	require.NoError(t, srv.Client().XGroupDestroy(t.Context(), stream, group).Err())

	_, err := l.Read(t.Context(), "lemon", event.TierLive, Limits{})
	require.ErrorIs(t, err, ErrResync)
	_, err = l.TakeOver(t.Context(), "lemon", event.TierLive, func([]event.Entry) error { return nil })
	require.NoError(t, err)
	require.Equal(t, ids, idsOf(readLive(t, l)))
}

func TestReadStopsAtItsBounds(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	drafts := make([]Draft, 100)
	for i := range drafts {
		signal := happened(fmt.Sprint("evt_", i), "a")
		signal.Body.Payload = make([]byte, 1000)
		drafts[i].Signal = signal
	}
	_, err := s.AppendAll(t.Context(), drafts)
	require.NoError(t, err)
	tests := []struct {
		name     string
		lim      Limits
		min, max int
	}{
		{"count", Limits{Count: 7}, 7, 7},
		{"bytes", Limits{Bytes: 20_000}, 10, 30},
		{"default", Limits{}, 63, 93},
	}
	for _, tt := range tests { // in this order: each takes the next ones
		t.Run(tt.name, func(t *testing.T) {
			l := ready(t, s, "w1")
			got, err := l.Read(t.Context(), "lemon", event.TierLive, tt.lim)
			require.NoError(t, err)
			require.GreaterOrEqual(t, len(got), tt.min)
			require.LessOrEqual(t, len(got), tt.max)
		})
	}
}

func TestUnreadableEntryIsAnError(t *testing.T) {
	t.Parallel()
	s, srv := start(t)
	l := ready(t, s, "w1")
	stream := s.keys.stream(0, "lemon", event.TierLive)
	require.NoError(t, srv.Client().Do(t.Context(), "XADD", stream, "*", "x", "y").Err())
	got := readLive(t, l)
	require.Error(t, got[0].Err)
	require.Equal(t, map[string]string{"x": "y"}, got[0].Fields)
}

func TestAckOfManyGoesInPages(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	var ids, events []string
	drafts := make([]Draft, 2*maxIDs+10)
	for i := range drafts {
		drafts[i].Signal = happened(fmt.Sprint("evt_", i), "a")
		events = append(events, drafts[i].Signal.CauseID)
	}
	receipts, err := s.AppendAll(t.Context(), drafts)
	require.NoError(t, err)
	for _, r := range receipts {
		ids = append(ids, r.ID)
	}
	require.NoError(t, l.Ack(t.Context(), "lemon", event.TierLive, ids, events))
	shards, _, err := s.Fleet(t.Context(), []string{"lemon"})
	require.NoError(t, err)
	require.Zero(t, shards[0].Sources["lemon"].Live)
	again, err := s.AppendAll(t.Context(), drafts)
	require.NoError(t, err)
	for _, r := range again {
		require.True(t, r.Processed)
	}
}

func TestAcquireChecksTheShard(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	for _, shard := range []int{-1, 1} {
		_, err := s.Acquire(t.Context(), shard, "w1", nil)
		require.Error(t, err)
	}
}
