package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// CommandsKept is the retention of commands that stores of RunRetention have.
const CommandsKept = time.Hour

// Age removes what is older than the store keeps at a time, as it goes by itself: what the
// store removes, or what it has its database remove.
type Age func(t *testing.T, now time.Time)

// RunRetention runs the part of the suite about the removal of old commands.
func RunRetention(t *testing.T, open func(t *testing.T) (storage.Store, Age)) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s *suite, age Age)
	}{
		{"commands are removed once they have been over for long enough", func(t *testing.T, s *suite, age Age) {
			end := at(10)
			for _, over := range []storage.CommandState{storage.CommandDone, storage.CommandDead, storage.CommandCancelled, storage.CommandDiscarded} {
				s.ended("old "+string(over), over, end, false)
			}
			s.ended("young", storage.CommandDone, end.Add(time.Minute), false)
			age(t, end.Add(CommandsKept-time.Second))
			require.Len(t, s.commandKeys(), 5, "none is old enough")
			age(t, end.Add(CommandsKept+time.Second))
			require.Equal(t, []string{"young"}, s.commandKeys())
		}},
		{"commands that are not over stay for ever", func(t *testing.T, s *suite, age Age) {
			var want []string
			for _, state := range []storage.CommandState{
				storage.CommandQueued, storage.CommandSending, storage.CommandUnclear, storage.CommandAnswered, storage.CommandAsked,
			} {
				s.ended(string(state), state, time.Time{}, false)
				want = append(want, string(state))
			}
			age(t, at(0).Add(1000*CommandsKept))
			require.ElementsMatch(t, want, s.commandKeys())
		}},
		{"commands that the feed lacks stay until it has them", func(t *testing.T, s *suite, age Age) {
			c := s.ended("owed", storage.CommandDone, at(10), true)
			later := at(10).Add(2 * CommandsKept)
			age(t, later)
			require.Equal(t, []string{"owed"}, s.commandKeys())
			paid, err := s.Commands().Paid(s.ctx, []storage.Item{itemOf(c)})
			require.NoError(t, err)
			require.Equal(t, 1, paid)
			age(t, later)
			require.Empty(t, s.commandKeys())
		}},
		{"a dead command that an operator retries stays", func(t *testing.T, s *suite, age Age) {
			c := s.ended("again", storage.CommandDead, at(10), false)
			c.State, c.EndedAt = storage.CommandQueued, time.Time{}
			require.True(t, s.move(c))
			age(t, at(10).Add(2*CommandsKept))
			require.Equal(t, []string{"again"}, s.commandKeys())
			c.State, c.EndedAt = storage.CommandDone, at(10).Add(2*CommandsKept)
			require.True(t, s.move(c))
			age(t, at(10).Add(3*CommandsKept-time.Second))
			require.Equal(t, []string{"again"}, s.commandKeys(), "its time is counted from its last end")
			age(t, at(10).Add(3*CommandsKept+time.Second))
			require.Empty(t, s.commandKeys())
		}},
		{"once a command is removed its key is a new wish, and numbers and refs go on", func(t *testing.T, s *suite, age Age) {
			lane := storage.RefLane("lemon", "order", "mine")
			first := command("key", lane, 1)
			first.Ref = "mine"
			first = s.ask(first)
			_, err := s.Commands().Bind(s.ctx, storage.Ref{Lane: lane, Entity: order("o1").Key, By: first.ID, At: at(2)})
			require.NoError(t, err)
			first.State, first.EndedAt = storage.CommandDone, at(10)
			require.True(t, s.move(first))
			again := command("key", lane, 9)
			again.Ref, again.Fingerprint = "mine", "another wish"
			_, err = s.Commands().Ask(s.ctx, again)
			require.ErrorIs(t, err, storage.ErrKeyReused)
			age(t, at(10).Add(CommandsKept+time.Second))
			second := s.ask(again)
			require.Equal(t, storage.CommandQueued, second.State)
			require.Greater(t, second.N, first.N)
			ref, err := s.Commands().Ref(s.ctx, lane)
			require.NoError(t, err)
			require.Equal(t, order("o1").Key, ref.Entity)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			store, age := open(t)
			c.test(t, newSuite(t, store), age)
		})
	}
}

// ended is a command of a lane of its own that was moved to a state, which it came to at
// end if that is a last one.
func (s *suite) ended(key string, state storage.CommandState, end time.Time, owed bool) *storage.Command {
	s.t.Helper()
	c := s.ask(command(key, event.Key{Source: "lemon", Kind: "order", ID: key}, 1))
	c.State, c.EndedAt, c.Owed = state, end, owed
	require.True(s.t, s.move(c))
	return c
}

// commandKeys are the keys of all commands.
func (s *suite) commandKeys() (keys []string) {
	s.t.Helper()
	page, err := s.Commands().List(s.ctx, storage.CommandFilter{Limit: 200})
	require.NoError(s.t, err)
	for _, c := range page.Items {
		keys = append(keys, c.Key)
	}
	return keys
}
