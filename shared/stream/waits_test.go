package stream

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// parkedFor parks an order for a time, with what has happened to it.
func parkedFor(t *testing.T, s *Streams, l *Lease, id string, delay time.Duration, park func(*Park)) {
	t.Helper()
	appended(t, s, happened("evt_"+id, id))
	p := Park{Key: order(id), Charged: readLive(t, l), Attempt: 1, Delay: delay, Earliest: delay, State: []byte("state of " + id)}
	if park != nil {
		park(&p)
	}
	require.NoError(t, l.Park(t.Context(), p))
}

func spilledNow(p *Park) {
	*p = Park{Key: p.Key, Waiting: p.Charged, Spilled: true}
}

// pages reads all pages of a filter and returns the ids in order.
func pages(t *testing.T, s *Streams, f WaitingFilter) (ids []string) {
	t.Helper()
	for range 100 {
		page, err := s.Waiting(t.Context(), f)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Items), f.Limit)
		for _, w := range page.Items {
			ids = append(ids, w.Key.ID)
		}
		if page.NextCursor == "" {
			return ids
		}
		f.Cursor = page.NextCursor
	}
	t.Fatal("the list does not end")
	return nil
}

func TestWaitingListsWhatIsParked(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	lemon := []string{"lemon"}
	require.Empty(t, pages(t, s, WaitingFilter{Sources: lemon, Limit: 2}))

	// Names of both cases: Redis sorts them by bytes.
	parkedFor(t, s, l, "late", 2*time.Hour, nil)
	parkedFor(t, s, l, "Soon", time.Hour, nil)
	parkedFor(t, s, l, "_first", time.Minute, nil)
	parkedFor(t, s, l, "spilled", 0, spilledNow)
	appended(t, s, happened("evt_2", "late"))
	left, err := l.ParkBehind(t.Context(), readLive(t, l))
	require.NoError(t, err)
	require.Empty(t, left)

	inOrder := []string{"spilled", "_first", "Soon", "late"}
	for limit := 1; limit <= 5; limit++ {
		require.Equal(t, inOrder, pages(t, s, WaitingFilter{Sources: lemon, Limit: limit}), "pages of %d", limit)
		require.Equal(t, inOrder, pages(t, s, WaitingFilter{Sources: []string{"other", "lemon"}, Kind: "order", Limit: limit}))
		require.Equal(t, inOrder[1:], pages(t, s, WaitingFilter{Sources: lemon, Limit: limit, Want: func(w *Waiting) bool { return !w.Spilled }}))
	}
	require.Empty(t, pages(t, s, WaitingFilter{Sources: lemon, Kind: "account", Limit: 2}))
	require.Empty(t, pages(t, s, WaitingFilter{Sources: []string{"other"}, Limit: 2}))

	page, err := s.Waiting(t.Context(), WaitingFilter{Sources: lemon, Limit: 10})
	require.NoError(t, err)
	last := page.Items[3]
	require.Equal(t, Parked{Key: order("late"), Len: 2, Attempt: 1, State: []byte("state of late")}, last.Parked)
	require.WithinDuration(t, time.Now().Add(2*time.Hour), last.Due, time.Minute)
	one, err := s.WaitingOf(t.Context(), order("late"))
	require.NoError(t, err)
	require.Equal(t, &last, one)
	none, err := s.WaitingOf(t.Context(), order("other"))
	require.NoError(t, err)
	require.Nil(t, none)

	_, err = s.Waiting(t.Context(), WaitingFilter{Sources: lemon, Limit: 2, Cursor: "bad"})
	require.ErrorIs(t, err, ErrCursor)
}

// The order goes through all shards, on every page.
func TestWaitingIsInOrderThroughAllShards(t *testing.T) {
	t.Parallel()
	const shards, entities = 4, 20
	o := quiet(redistest.Start(t).URL())
	o.Shards = shards
	s := openStreams(t, o)
	leases := make([]*Lease, shards)
	for shard := range leases {
		l, err := s.Acquire(t.Context(), shard, "w1", []string{"lemon"})
		require.NoError(t, err)
		_, err = l.TakeOver(t.Context(), "lemon", event.TierLive, func([]event.Entry) error { return nil })
		require.NoError(t, err)
		leases[shard] = l
	}
	ids, used := make([]string, entities), map[int]bool{}
	for i := range entities {
		turn := i * 7 % entities
		ids[turn] = fmt.Sprint("bord_", i)
		shard := order(ids[turn]).Shard(shards)
		used[shard] = true
		parkedFor(t, s, leases[shard], ids[turn], time.Duration(turn+1)*time.Minute, nil)
	}
	require.Len(t, used, shards)
	for _, limit := range []int{1, 3, entities} {
		require.Equal(t, ids, pages(t, s, WaitingFilter{Sources: []string{"lemon"}, Limit: limit}), "pages of %d", limit)
	}
}

// After a retry of all, every entity is due at one time. Pages then go on by name, however
// many there are.
func TestWaitingGoesOnAmongTheSameTimes(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	var ids []string
	for i := range 37 {
		id := fmt.Sprintf("bord_%02d", i)
		if i%2 == 0 {
			id = fmt.Sprintf("BORD_%02d", i)
		}
		ids = append(ids, id)
		parkedFor(t, s, l, id, time.Hour, nil)
	}
	_, err := s.RetryParked(t.Context(), "lemon")
	require.NoError(t, err)
	slices.Sort(ids)
	for _, limit := range []int{1, 2, 5, 36, 37, 38} {
		require.Equal(t, ids, pages(t, s, WaitingFilter{Sources: []string{"lemon"}, Limit: limit}), "pages of %d", limit)
	}
}

func TestRetryEntitiesMakesThemDue(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	parkedFor(t, s, l, "a", time.Hour, nil)
	parkedFor(t, s, l, "b", time.Hour, nil)
	before, err := s.Sources(t.Context(), []string{"lemon"})
	require.NoError(t, err)

	n, err := s.RetryEntities(t.Context(), []event.Key{order("a"), order("not parked")})
	require.NoError(t, err)
	require.Equal(t, 1, n)
	due, _, err := dueOf(t.Context(), l, 10)
	require.NoError(t, err)
	require.Equal(t, []event.Key{order("a")}, due)
	after, err := s.Sources(t.Context(), []string{"lemon"})
	require.NoError(t, err)
	require.NotEqual(t, before[0].Retried, after[0].Retried, "the leaseholder learns of it")

	n, err = s.RetryEntities(t.Context(), []event.Key{order("a")})
	require.NoError(t, err)
	require.Zero(t, n, "it was due already")
}
