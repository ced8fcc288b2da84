package stream

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

func TestReadGivesBackWhatWasAppended(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	signal := happened("evt_1", "bord_1")
	ids := appended(t, s, signal)

	entries := readLive(t, l)
	require.Equal(t, ids, idsOf(entries))
	require.NoError(t, entries[0].Err)
	require.Equal(t, signal, entries[0].Signal)
	require.False(t, entries[0].Parked)
	require.Empty(t, readLive(t, l))

	require.NoError(t, l.Ack(t.Context(), "lemon", event.TierLive, ids, []string{"evt_1"}))
	shards, _, err := s.Fleet(t.Context(), []string{"lemon"})
	require.NoError(t, err)
	require.Zero(t, shards[0].Sources["lemon"].Live)
	r, err := s.Append(t.Context(), Draft{Signal: signal})
	require.NoError(t, err)
	require.Equal(t, Receipt{Duplicate: true, Processed: true}, r)
}

func TestLostReadReplyKeepsOrder(t *testing.T) {
	t.Parallel()
	for _, kind := range proxied {
		t.Run(kind.name, func(t *testing.T) {
			url, proxy := kind.start(t)
			s := openStreams(t, quiet(url))
			l := ready(t, s, "w1")
			first := appended(t, s, happened("evt_1", "a"), happened("evt_2", "a"))

			// Were the script not known yet, the lost reply would say so and
			// nothing would have been delivered.
			require.NoError(t, readScript.Load(t.Context(), s.client).Err())
			lost := proxy.LoseReply(readScript.Hash())
			_, err := l.Read(t.Context(), "lemon", event.TierLive, Limits{})
			<-lost
			if kind.repeats {
				require.ErrorIs(t, err, ErrResync, "the repetition delivers nothing")
			} else {
				require.Error(t, err)
			}

			second := appended(t, s, happened("evt_3", "a"))
			_, err = l.Read(t.Context(), "lemon", event.TierLive, Limits{})
			require.ErrorIs(t, err, ErrResync)

			var got []string
			gone, err := l.TakeOver(t.Context(), "lemon", event.TierLive, func(page []event.Entry) error {
				got = append(got, idsOf(page)...)
				return nil
			})
			require.NoError(t, err)
			require.Zero(t, gone)
			require.Equal(t, first, got)
			require.Equal(t, second, idsOf(readLive(t, l)))
		})
	}
}

// A take-over and a read that a client repeats may run for the second time when
// the client has gone on. They deliver nothing then, for their reply is lost.
func TestLateSecondRunsDeliverNothing(t *testing.T) {
	s, _ := start(t)
	l := ready(t, s, "w1")
	live := s.keys.stream(0, "lemon", event.TierLive)
	keys := []string{l.key, live, s.keys.due(0, "lemon")}
	again := func(script *redis.Script, args ...any) error {
		return script.Run(t.Context(), s.client, keys, append([]any{l.owner, l.epoch, group, sequence("lemon", event.TierLive)}, args...)...).Err()
	}
	taken := l.at(live).seq
	appended(t, s, happened("evt_1", "a"))
	require.Len(t, readLive(t, l), 1)
	read := l.at(live).seq

	second := appended(t, s, happened("evt_2", "a"))
	require.NoError(t, again(takeOverScript, taken, "0-0", takeOverPage, event.FieldKey))
	require.ErrorContains(t, again(readScript, taken, read, 100, 1<<20, event.FieldKey), "RESYNC")
	require.Equal(t, second, idsOf(readLive(t, l)))
}

func TestAwaitWakesForWhatIsNew(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	l := ready(t, s, "w1")
	appended(t, s, happened("evt_1", "a"))
	readLive(t, l)

	both := []event.Tier{event.TierLive, event.TierBackground}
	begun := time.Now()
	require.NoError(t, await(t.Context(), l, 50*time.Millisecond, both...))
	require.GreaterOrEqual(t, time.Since(begun), 40*time.Millisecond, "what was delivered must not wake")

	woken := make(chan error, 1)
	go func() { woken <- await(t.Context(), l, time.Minute, both...) }()
	begun = time.Now()
	appended(t, s, happened("evt_2", "a"))
	require.NoError(t, <-woken)
	require.Less(t, time.Since(begun), 30*time.Second)
}

// Entries that cannot be read keep their own fields, whatever others there are.
func TestUnreadableEntriesKeepTheirFields(t *testing.T) {
	good, err := happened("evt_1", "a").Fields()
	require.NoError(t, err)
	for i := range good {
		if text, ok := good[i].([]byte); ok {
			good[i] = string(text)
		}
	}
	reply := []any{
		[]any{"1-1", []any{"x", "1"}, int64(0)},
		[]any{"1-2", good, int64(0)},
		[]any{"1-3", []any{"y", "2", "z", "3"}, int64(1)},
	}
	entries := entriesOf(reply, event.TierLive)
	require.Equal(t, []string{"1-1", "1-2", "1-3"}, idsOf(entries))
	require.Equal(t, map[string]string{"x": "1"}, entries[0].Fields)
	require.NoError(t, entries[1].Err)
	require.Nil(t, entries[1].Fields)
	require.Equal(t, happened("evt_1", "a").CauseID, entries[1].Signal.CauseID)
	require.Equal(t, map[string]string{"y": "2", "z": "3"}, entries[2].Fields)
	require.True(t, entries[2].Parked)
}
