package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

func TestFullRedisTakesABatchWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			o := quiet(kind.urls(t)...)
			o.Shards = 4
			s := openStreams(t, o)
			ctx := t.Context()
			var drafts []Draft
			for i := range 64 {
				drafts = append(drafts, Draft{Signal: happened(fmt.Sprint("evt_", i), fmt.Sprint("bord_", i%9))})
			}
			_, err := s.AppendAll(ctx, drafts[:32])
			require.NoError(t, err)
			limitMemory(t, s, 1)
			before := snapshot(t, s)

			_, err = s.AppendAll(ctx, drafts[32:])
			require.ErrorIs(t, err, ErrFull)
			_, err = s.AppendAll(ctx, []Draft{{Signal: look("bord_1", event.Reconcile), Once: time.Hour}})
			require.ErrorIs(t, err, ErrFull)
			_, err = s.Recover(ctx, []Lost{{Signal: further("evt_lost", "bord_1")}})
			require.ErrorIs(t, err, ErrFull)
			require.Equal(t, before, snapshot(t, s), "no entry without its mark, no mark without its entry")

			// Old and new in one batch: the old ones are known, whatever is said
			// of the others.
			mixed := []Draft{drafts[0], drafts[40], drafts[1]}
			s.full.Store(false) // a look of the last moment would refuse all without asking
			receipts, err := s.AppendAll(ctx, mixed)
			require.ErrorIs(t, err, ErrFull)
			require.Len(t, receipts, 1)
			require.True(t, receipts[0].Duplicate)
			require.Equal(t, before, snapshot(t, s))

			limitMemory(t, s, 0)
			s.full.Store(false)
			receipts, err = s.AppendAll(ctx, drafts)
			require.NoError(t, err)
			for i, r := range receipts {
				require.Equal(t, i < 32, r.Duplicate, "evt_%d", i)
			}
		})
	}
}

// A full Redis whose workers are all gone must be emptied by new ones: nothing
// else makes room.
func TestFullRedisIsDrainedByNewHolders(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			o := quiet(kind.urls(t)...)
			s := openStreams(t, o)
			ctx := t.Context()
			gone := ready(t, s, "gone")
			parked := appended(t, s, happened("evt_p1", "parked"), happened("evt_p2", "parked"))
			require.NoError(t, gone.Park(ctx, Park{
				Key: order("parked"), Waiting: readLive(t, gone), Delay: time.Hour, Earliest: time.Hour,
			}))
			pending := appended(t, s, happened("evt_1", "a"), happened("evt_2", "b"))
			require.Equal(t, pending, idsOf(readLive(t, gone)))

			roomFor(t, s, 8<<20)
			unread := fill(t, s)

			// The holder says nothing more, so its lease ends: now, rather than
			// after 5 s. The next worker begins with a Redis that is full.
			require.NoError(t, s.client.PExpire(ctx, s.keys.lease(0), time.Millisecond).Err())
			s = openStreams(t, o)
			_, err := s.Member("new").Beat(ctx)
			require.NoError(t, err)
			var l *Lease
			require.Eventually(t, func() bool {
				var err error
				if l, err = s.Acquire(ctx, 0, "new", []string{"lemon"}); errors.Is(err, ErrHeld) {
					return false
				}
				require.NoError(t, err, "a full Redis gives leases")
				return true
			}, soon, 10*time.Millisecond)
			require.Greater(t, l.Epoch(), gone.Epoch())

			n, err := s.RetryParked(ctx, "lemon")
			require.NoError(t, err)
			require.Equal(t, 1, n)

			var done []string
			ack := func(entries []event.Entry) error {
				var events []string
				for _, e := range entries {
					events = append(events, e.Signal.CauseID)
				}
				done = append(done, idsOf(entries)...)
				require.NoError(t, l.Renew(ctx))
				return l.Ack(ctx, "lemon", event.TierLive, idsOf(entries), events)
			}
			_, err = l.TakeOver(ctx, "lemon", event.TierLive, ack)
			require.NoError(t, err)
			require.Equal(t, pending, done)
			for entries := readLive(t, l); len(entries) > 0; entries = readLive(t, l) {
				require.NoError(t, ack(entries))
			}
			require.Equal(t, append(pending, unread...), done, "everything, in order")

			left, err := l.Unpark(ctx, order("parked"), parked, []string{"evt_p1", "evt_p2"}, 0)
			require.NoError(t, err)
			require.Zero(t, left)

			require.Eventually(t, func() bool { // memory is looked at once a second
				r, err := s.Append(ctx, Draft{Signal: happened("evt_new", "a")})
				return err == nil && !r.Duplicate
			}, soon, 10*time.Millisecond, "there is room again")
		})
	}
}

// limitMemory sets maxmemory of every master, in bytes; 0 is none.
func limitMemory(t *testing.T, s *Streams, limit int) {
	t.Helper()
	require.NoError(t, s.onMasters(t.Context(), func(ctx context.Context, c *redis.Client) error {
		return c.ConfigSet(ctx, "maxmemory", strconv.Itoa(limit)).Err()
	}))
}

// roomFor lets every master use so many bytes more than it does.
func roomFor(t *testing.T, s *Streams, more float64) {
	t.Helper()
	require.NoError(t, s.onMasters(t.Context(), func(ctx context.Context, c *redis.Client) error {
		memory, err := c.Info(ctx, "memory").Result()
		if err != nil {
			return err
		}
		return c.ConfigSet(ctx, "maxmemory", fmt.Sprint(int(infoNumber(memory, "used_memory")+more))).Err()
	}))
}

// fill appends until Redis itself refuses, and returns what it took.
func fill(t *testing.T, s *Streams) (ids []string) {
	t.Helper()
	for i := 0; ; i++ {
		signal := happened(fmt.Sprint("evt_fill_", i), fmt.Sprint("bord_", i%50))
		signal.Body.Payload = fmt.Appendf(nil, `{"id":%q,"text":%q}`, signal.Body.ID, strings.Repeat("x", 8<<10))
		r, err := s.Append(t.Context(), Draft{Signal: signal})
		if errors.Is(err, ErrFull) {
			return ids
		}
		require.NoError(t, err)
		ids = append(ids, r.ID)
	}
}

// A Redis without memory for a write is no place to send webhooks to, until it has
// some again; one that is only near its limit is.
func TestPingKnowsThatRedisHasNoMemory(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s := openStreams(t, quiet(kind.urls(t)...))
			ctx := t.Context()
			for name, full := range map[string]bool{"refused by redis": false, "refused beforehand": true} {
				limitMemory(t, s, 1)
				s.full.Store(full)
				require.NoError(t, s.Ping(ctx), "no write was asked for")
				_, err := s.Append(ctx, Draft{Signal: happened(name, "a")})
				require.ErrorIs(t, err, ErrFull, name)
				require.ErrorIs(t, s.Ping(ctx), fate.ErrNoWrites, name)
				limitMemory(t, s, 0)
				require.NoError(t, s.Ping(ctx), name)
				s.writes.refuse(ErrFull)
				require.NoError(t, s.Ping(ctx), "it is near its limit, and takes writes")
			}
		})
	}
}
