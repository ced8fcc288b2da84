package stream

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// hintsOf are the hints of lemon in shard 0.
func hintsOf(t *testing.T, s *Streams) []Hint {
	t.Helper()
	found, err := s.Hints(t.Context(), "lemon", []int{0}, 1000)
	require.NoError(t, err)
	if len(found) == 0 {
		return nil
	}
	require.WithinDuration(t, time.Now(), found[0].Oldest, time.Minute)
	return found[0].Hints
}

// A hint is left by the step that removes the entries, and stays until exactly this
// version is removed.
func TestAnAckLeavesHints(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			ctx := t.Context()
			s := openStreams(t, quiet(kind.urls(t)...))
			l := ready(t, s, "w1")
			ids := appended(t, s, happened("evt_1", "a"), happened("evt_2", "b"), happened("evt_3", "c"))
			entries := readLive(t, l)
			a, b := Hint{order("a"), 7}, Hint{event.Key{Source: "lemon", Kind: "part", ID: "a b/c", Under: "x"}, 1 << 60}
			require.NoError(t, l.Ack(ctx, "lemon", event.TierLive, ids[:1], []string{"evt_1"}, a, b))
			require.NoError(t, l.Ack(ctx, "lemon", event.TierLive, ids[:1], []string{"evt_1"}, a), "twice")
			require.Equal(t, []Hint{b, a}, sorted(hintsOf(t, s)))
			oldest, err := s.OldestHint(ctx, "lemon")
			require.NoError(t, err)
			require.Positive(t, oldest)

			require.NoError(t, l.Park(ctx, Park{Key: order("b"), Waiting: entries[1:2]}))
			_, err = l.Unpark(ctx, order("b"), ids[1:2], []string{"evt_2"}, 0, Hint{order("a"), 8})
			require.NoError(t, err)
			taken, err := s.Hints(ctx, "lemon", []int{0}, 1000)
			require.NoError(t, err)
			taken[0].Hints = []Hint{a, b}
			require.NoError(t, s.DropHints(ctx, "lemon", taken))
			require.NoError(t, s.DropHints(ctx, "lemon", taken), "twice")
			require.Equal(t, []Hint{{order("a"), 8}}, hintsOf(t, s), "a later version stays")

			other, err := s.Acquire(ctx, 0, "w1", []string{"lemon"})
			require.NoError(t, err)
			require.ErrorIs(t, l.Ack(ctx, "lemon", event.TierLive, ids[2:], nil, Hint{order("c"), 1}), ErrFenced)
			require.Len(t, hintsOf(t, s), 1, "a worker that lost its lease leaves none")
			require.NoError(t, other.Release(ctx))
		})
	}
}

// sorted puts hints in the order of their texts.
func sorted(hints []Hint) []Hint {
	if len(hints) == 2 && hints[0].text() > hints[1].text() {
		hints[0], hints[1] = hints[1], hints[0]
	}
	return hints
}

// A shard holds so many hints and no more, and acks all the same.
func TestHintingStopsAtItsMost(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	ids := appended(t, s, happened("evt_1", "a"))
	readLive(t, l)
	args := []any{l.owner, l.epoch, group, 3, 5, "1 lemon/order/a", "1 lemon/order/b", "1 lemon/order/a", "1 lemon/order/c", "1 lemon/order/d", ids[0]}
	v, err := ackScript.Run(t.Context(), s.client, []string{l.key, s.keys.stream(0, "lemon", event.TierLive), s.keys.hints(0, "lemon")}, args...).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, v, "acked")
	require.Len(t, hintsOf(t, s), 3)
}

// Many entries leave in pages, and no hint comes later than the entries of its entity.
func TestHintsOfManyPages(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	var hints []Hint
	var ids []string
	for i := range 2300 {
		hints = append(hints, Hint{order(fmt.Sprint(i)), 1})
		ids = append(ids, fmt.Sprintf("%d-1", i+1))
	}
	require.NoError(t, l.Ack(t.Context(), "lemon", event.TierLive, ids, nil, hints...))
	n, err := s.client.ZCard(t.Context(), s.keys.hints(0, "lemon")).Result()
	require.NoError(t, err)
	require.EqualValues(t, 2300, n)
}

// The bell names the shards, once, and wakes who waits.
func TestTheBellWakes(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			ctx := t.Context()
			o := quiet(kind.urls(t)...)
			s := openStreams(t, o)
			require.NoError(t, s.Ring(ctx, map[string][]int{"lemon": {0}, "stripe": {0}}))
			require.NoError(t, s.Ring(ctx, map[string][]int{"lemon": {0}}))
			require.NoError(t, s.Ring(ctx, nil))
			bell := s.Bell("lemon")
			defer bell.Close()
			shards, err := bell.Wait(ctx, time.Minute)
			require.NoError(t, err)
			require.Equal(t, []int{0}, shards)
			shards, err = bell.Wait(ctx, time.Millisecond)
			require.NoError(t, err)
			require.Empty(t, shards)

			require.NoError(t, s.Ring(ctx, map[string][]int{"lemon": {BellOfCommands}}))
			shards, err = bell.Wait(ctx, time.Minute)
			require.NoError(t, err)
			require.Equal(t, []int{BellOfCommands}, shards)

			rung := make(chan error, 1)
			go func() {
				shards, err := bell.Wait(ctx, time.Minute)
				if err == nil && len(shards) != 1 {
					err = fmt.Errorf("rang for %v", shards)
				}
				rung <- err
			}()
			require.NoError(t, s.Ring(ctx, map[string][]int{"lemon": {0}}))
			require.NoError(t, <-rung)

			ended, cancel := context.WithCancel(ctx)
			go func() { _, err := bell.Wait(ended, time.Minute); rung <- err }()
			cancel()
			require.ErrorIs(t, <-rung, context.Canceled)
		})
	}
}

// How far the log has come is told by the holder of its task alone.
func TestOnlyTheSequencerTells(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			ctx := t.Context()
			s := openStreams(t, quiet(kind.urls(t)...))
			told, err := s.FeedHead(ctx, "lemon")
			require.NoError(t, err)
			require.Zero(t, told)
			one, err := s.Task(ctx, "feed/lemon", "r1")
			require.NoError(t, err)
			require.NoError(t, one.TellFeed(ctx, FeedHead{"gen", 7, "tag"}))
			two, err := s.Task(ctx, "feed/lemon", "r1") // another epoch
			require.NoError(t, err)
			require.ErrorIs(t, one.TellFeed(ctx, FeedHead{"gen", 6, "old"}), ErrFenced)
			told, err = s.FeedHead(ctx, "lemon")
			require.NoError(t, err)
			require.Equal(t, FeedHead{"gen", 7, "tag"}, told)
			require.NoError(t, two.Release(ctx))
			told, err = s.FeedHead(ctx, "lemon")
			require.NoError(t, err)
			require.EqualValues(t, 7, told.Position, "it outlives the lease")
		})
	}
}

// A text that is no hint is named and can be removed.
func TestAnUnreadableHint(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	for _, text := range []string{"", "7", "x lemon/order/a", "7 order"} {
		require.NoError(t, s.client.ZAdd(t.Context(), s.keys.hints(0, "lemon"), redis.Z{Score: 1, Member: text}).Err())
	}
	found, err := s.Hints(t.Context(), "lemon", []int{0}, 10)
	require.NoError(t, err)
	require.Len(t, found[0].Unreadable, 4)
	require.Empty(t, found[0].Hints)
	require.NoError(t, s.DropHints(t.Context(), "lemon", found))
	found, err = s.Hints(t.Context(), "lemon", []int{0}, 10)
	require.NoError(t, err)
	require.Empty(t, found)
}
