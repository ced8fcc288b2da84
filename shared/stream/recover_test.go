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

// further is the signal of an event without its body, as recovery appends it.
func further(eventID, orderID string) event.Signal {
	s := happened(eventID, orderID)
	s.Body = nil
	return s
}

func TestRecoverAppendsOnlyWhatIsLost(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s := openStreams(t, quiet(kind.urls(t)...))
			queued := appended(t, s, happened("evt_queued", "bord_1"))[0]
			appended(t, s, happened("evt_parked", "bord_2"))
			l := ready(t, s, "w1")
			entries, err := l.Read(t.Context(), "lemon", event.TierLive, Limits{})
			require.NoError(t, err)
			require.Len(t, entries, 2)
			require.NoError(t, l.Park(t.Context(), Park{Key: order("bord_2"), Waiting: entries[1:], Delay: time.Hour, Earliest: time.Hour}))

			lost := []Lost{
				{Signal: further("evt_queued", "bord_1"), Known: queued},
				{Signal: further("evt_parked", "bord_2")},
				{Signal: further("evt_lost", "bord_3"), Known: "1-1"},
			}
			got, err := s.Recover(t.Context(), lost)
			require.NoError(t, err)
			require.Equal(t, RecoverQueued, got[0].State)
			require.Equal(t, queued, got[0].ID)
			require.Equal(t, RecoverParked, got[1].State)
			require.Equal(t, RecoverAppended, got[2].State)

			entries, err = l.Read(t.Context(), "lemon", event.TierLive, Limits{})
			require.NoError(t, err)
			require.Len(t, entries, 1)
			require.Equal(t, got[2].ID, entries[0].ID)
			require.Equal(t, "evt_lost", entries[0].Signal.CauseID)
			require.Nil(t, entries[0].Signal.Body)

			// A repetition finds what the first one appended, under its new id
			// as under the old one.
			again, err := s.Recover(t.Context(), lost)
			require.NoError(t, err)
			require.Equal(t, RecoverQueued, again[2].State)
			require.Equal(t, got[2].ID, again[2].ID)

			// The mark of the event does not stop it: after FLUSHALL there may be
			// a mark and no entry, or neither.
			require.NoError(t, l.Ack(t.Context(), "lemon", event.TierLive, []string{queued}, []string{"evt_queued"}))
			got, err = s.Recover(t.Context(), lost[:1])
			require.NoError(t, err)
			require.Equal(t, RecoverAppended, got[0].State)
		})
	}
}

// Which entry is of a further entity of an event is not known until it is looked
// for. Nothing that is there is appended twice.
func TestRecoverFindsEntriesOfUnknownID(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s := openStreams(t, quiet(kind.urls(t)...))
			received := time.Now()
			var lost []Lost
			var want []string
			for i := range 3 * standingPage {
				sig := further(fmt.Sprintf("evt_%d", i), fmt.Sprintf("bord_%d", i%7))
				want = append(want, appended(t, s, sig)[0])
				lost = append(lost, Lost{Signal: sig, Since: received})
			}
			// The same event's work on another entity, another event's on the same.
			other := []Lost{{Signal: further("evt_1", "bord_2")}, {Signal: further("evt_x", "bord_1"), Since: received}}
			for range 2 {
				got, err := s.Recover(t.Context(), append(slices.Clone(lost), other...))
				require.NoError(t, err)
				for i, r := range got[:len(lost)] {
					require.Equal(t, RecoverQueued, r.State, i)
					require.Equal(t, want[i], r.ID)
				}
			}
			again, err := s.Recover(t.Context(), other)
			require.NoError(t, err)
			l := ready(t, s, "w1")
			entries, err := l.Read(t.Context(), "lemon", event.TierLive, Limits{Count: 1000})
			require.NoError(t, err)
			require.Len(t, entries, len(lost)+2, "the two that were not there, once")
			for i, r := range again {
				require.Equal(t, RecoverQueued, r.State)
				require.Equal(t, r.ID, entries[len(lost)+i].ID)
			}

			// A parked entity is not looked for.
			require.NoError(t, l.Park(t.Context(), Park{Key: order("bord_1"), Waiting: entries[1:2], Delay: time.Hour, Earliest: time.Hour}))
			got, err := s.Recover(t.Context(), lost[1:2])
			require.NoError(t, err)
			require.Equal(t, RecoverParked, got[0].State)
		})
	}
}

func TestGenerationsTellALoss(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t)
	o := quiet(srv.URL())
	o.Shards = 3
	s := openStreams(t, o)
	first, err := s.Generations(t.Context())
	require.NoError(t, err)
	require.Len(t, first, 3)
	require.NotEqual(t, first[0], first[1])
	again, err := s.Generations(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, again)

	srv.FlushAll()
	after, err := s.Generations(t.Context())
	require.NoError(t, err)
	for shard := range first {
		require.NotEqual(t, first[shard], after[shard])
	}
}

func TestTaskHasOneHolder(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			s := openStreams(t, quiet(kind.urls(t)...))
			first, err := s.Task(t.Context(), "gaps/lemon", "r1")
			require.NoError(t, err)
			_, err = s.Task(t.Context(), "gaps/lemon", "r2")
			require.ErrorIs(t, err, ErrHeld)
			other, err := s.Task(t.Context(), "gaps/stripe", "r2")
			require.NoError(t, err)
			require.NoError(t, other.Renew(t.Context()))

			require.NoError(t, first.Release(t.Context()))
			second, err := s.Task(t.Context(), "gaps/lemon", "r2")
			require.NoError(t, err)
			require.Greater(t, second.Epoch(), first.Epoch())
			require.ErrorIs(t, first.Renew(t.Context()), ErrFenced)
			require.False(t, first.Valid())
			require.True(t, second.Valid())
			require.Equal(t, "gaps/lemon", second.Name())

			// Names of tasks never come again, so nothing of them may stay.
			forgotten, err := s.client.PTTL(t.Context(), s.keys.taskEpoch("gaps/lemon")).Result()
			require.NoError(t, err)
			require.InDelta(t, taskEpoch, forgotten, float64(time.Minute))
		})
	}
}

func TestRetryParkedMakesAllDue(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	appended(t, s, happened("evt_1", "bord_1"), happened("evt_2", "bord_2"))
	l := ready(t, s, "w1")
	entries, err := l.Read(t.Context(), "lemon", event.TierLive, Limits{})
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, l.Park(t.Context(), Park{Key: e.Signal.Ref.Key, Waiting: []event.Entry{e}, Delay: time.Hour, Earliest: time.Hour}))
	}
	due, _, err := dueOf(t.Context(), l, 10)
	require.NoError(t, err)
	require.Empty(t, due)

	n, err := s.RetryParked(t.Context(), "lemon")
	require.NoError(t, err)
	require.Equal(t, 2, n)
	due, next, err := dueOf(t.Context(), l, 10)
	require.NoError(t, err)
	require.Len(t, due, 2)
	require.Zero(t, next)
	n, err = s.RetryParked(t.Context(), "lemon")
	require.NoError(t, err)
	require.Zero(t, n)
}
