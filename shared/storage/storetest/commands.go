package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// command is an update of an order, asked for n seconds into the case.
func command(key string, lane event.Key, n int) *storage.Command {
	return &storage.Command{
		ID: storage.CommandID(lane.Source, key), Source: lane.Source, Key: key, Fingerprint: "print of " + key,
		Kind: lane.Kind, Op: "update", Lane: lane, By: "app", At: at(n), DueAt: at(n), Trace: "trace-" + key,
		Parents: map[string]string{"account": "cusa_1"}, Body: []byte(`{"price": 1.10}`),
	}
}

func (s *suite) ask(c *storage.Command) *storage.Command {
	s.t.Helper()
	stored, err := s.Commands().Ask(s.ctx, c)
	require.NoError(s.t, err)
	return stored
}

func (s *suite) command(c *storage.Command) *storage.Command {
	s.t.Helper()
	stored, err := s.Commands().Command(s.ctx, c.ID)
	require.NoError(s.t, err)
	return stored
}

func (s *suite) move(c *storage.Command) bool {
	s.t.Helper()
	moved, err := s.Commands().Move(s.ctx, c)
	require.NoError(s.t, err)
	return moved
}

// open returns the keys of the commands of a lane that are not final.
func (s *suite) open(lane event.Key) (keys []string) {
	s.t.Helper()
	found, err := s.Commands().Open(s.ctx, lane, 100)
	require.NoError(s.t, err)
	for _, c := range found {
		keys = append(keys, c.Key)
	}
	return keys
}

// due returns the keys of all commands of a source that are due, page by page.
func (s *suite) due(source string, now time.Time, limit int) (keys []string) {
	s.t.Helper()
	for cursor := ""; ; {
		due, next, err := s.Commands().Due(s.ctx, source, now, limit, cursor)
		require.NoError(s.t, err)
		for _, d := range due {
			keys = append(keys, s.command(&storage.Command{ID: d.ID}).Key)
		}
		if cursor = next; cursor == "" {
			return keys
		}
	}
}

var commandCases = []testCase{
	{"a command is read back whole", func(t *testing.T, s *suite) {
		asked := command("a", order("o1").Key, 1)
		stored := s.ask(asked)
		want := *asked
		want.State, want.Rev, want.N = storage.CommandQueued, 1, 1
		require.Equal(t, asJSON(t, &want), asJSON(t, stored))

		c := stored
		c.State, c.DueAt, c.Owed, c.Body = storage.CommandAsked, at(9), true, []byte(`{}`)
		c.Request = &storage.CommandRequest{
			Method: "POST", Path: "/orders", Type: "application/json", Bytes: []byte(`{"price":1.10}`), Key: "k", KeyHeader: "Idempotency-Key", Scope: "acct_1",
		}
		c.Charged, c.Keys, c.KeyedAt, c.SentAt, c.Begun = 3, 2, at(2), at(3), "worker/7"
		c.Attempts = []storage.CommandAttempt{{At: at(3), Status: 500, Error: "no", RequestID: "req_1"}}
		c.WaitsFor, c.WaitsSince = []string{"account/main"}, at(4)
		c.Doubt = &storage.CommandDoubt{Since: at(5), Strategy: 1, AbsentAt: at(6), Replayed: true}
		c.Result = &storage.CommandResult{Status: 201, ID: "o1", At: at(7), Body: []byte(`{"id": "o1", "price": 1.10}`), RequestID: "req_2"}
		c.CoveredBy = &storage.Covered{Claim: 7, FetchedAt: at(8), Signal: "1-1", StateHash: "h"}
		c.Asked = &storage.CommandQuestion{Since: at(8), Reason: "the answer was lost", Candidates: []string{"o1", "o2"}}
		c.Reason = "a reason"
		require.True(t, s.move(c))
		require.EqualValues(t, 2, c.Rev)
		require.Equal(t, asJSON(t, c), asJSON(t, s.command(c)))

		c.State, c.DueAt, c.Body, c.Request, c.Charged, c.Attempts, c.WaitsFor = storage.CommandDone, time.Time{}, nil, nil, 0, nil, nil
		c.Doubt, c.Result, c.CoveredBy, c.Asked, c.Reason, c.EndedAt = nil, nil, nil, nil, "", at(10)
		require.True(t, s.move(c))
		require.Equal(t, asJSON(t, c), asJSON(t, s.command(c)))
		_, err := s.Commands().Command(s.ctx, "cmd_unknown")
		require.ErrorIs(t, err, storage.ErrNotFound)
	}},
	{"the same key is the same command", func(t *testing.T, s *suite) {
		first := s.ask(command("a", order("o1").Key, 1))
		first.State = storage.CommandDone
		require.True(t, s.move(first))
		again := command("a", order("o1").Key, 9)
		require.Equal(t, asJSON(t, first), asJSON(t, s.ask(again)), "as it is by now")
		again.Fingerprint = "another"
		_, err := s.Commands().Ask(s.ctx, again)
		require.ErrorIs(t, err, storage.ErrKeyReused)
		elsewhere := command("a", event.Key{Source: "stripe", Kind: "order", ID: "o1"}, 1)
		require.NotEqual(t, first.ID, s.ask(elsewhere).ID, "of another source")
	}},
	{"of one key asked at once there is one command", func(t *testing.T, s *suite) {
		var wg sync.WaitGroup
		numbers := make([]int64, 8)
		for i := range numbers {
			wg.Go(func() {
				c, err := s.Commands().Ask(s.ctx, command("a", order("o1").Key, 1))
				if err == nil {
					numbers[i] = c.N
				}
			})
		}
		wg.Wait()
		for _, n := range numbers {
			require.Equal(t, s.command(&storage.Command{ID: storage.CommandID("lemon", "a")}).N, n)
		}
		require.Equal(t, []string{"a"}, s.open(order("o1").Key))
	}},
	{"of those that move a command at once one does", func(t *testing.T, s *suite) {
		stored := s.ask(command("a", order("o1").Key, 1))
		var wg sync.WaitGroup
		moved := make([]bool, 8)
		for i := range moved {
			wg.Go(func() {
				c := *stored
				c.State, c.Begun = storage.CommandSending, fmt.Sprint(i)
				ok, err := s.Commands().Move(s.ctx, &c)
				moved[i] = ok && err == nil
			})
		}
		wg.Wait()
		var by []string
		for i, ok := range moved {
			if ok {
				by = append(by, fmt.Sprint(i))
			}
		}
		require.Len(t, by, 1)
		require.Equal(t, by[0], s.command(stored).Begun)
		require.EqualValues(t, 2, s.command(stored).Rev)
		stale := *stored
		stale.State = storage.CommandCancelled
		require.False(t, s.move(&stale))
		require.EqualValues(t, 1, stale.Rev)
	}},
	{"commands are listed newest first, by any filter", func(t *testing.T, s *suite) {
		o1, o2 := order("o1").Key, storage.RefLane("lemon", "order", "mine")
		all := []*storage.Command{command("a", o1, 1), command("b", o2, 2), command("c", o1, 3), command("d", event.Key{Source: "stripe", Kind: "price", ID: "p"}, 3)}
		all[1].Ref, all[2].Op = "mine", "cancel"
		for _, c := range all {
			s.ask(c)
		}
		dead := s.command(all[2])
		dead.State = storage.CommandDead
		require.True(t, s.move(dead))
		keys := func(f storage.CommandFilter) (got []string) {
			for {
				p, err := s.Commands().List(s.ctx, f)
				require.NoError(t, err)
				for _, c := range p.Items {
					got = append(got, c.Key)
				}
				if f.Cursor = p.NextCursor; f.Cursor == "" {
					return got
				}
			}
		}
		require.ElementsMatch(t, []string{"d", "c", "b", "a"}, keys(storage.CommandFilter{Limit: 1}))
		require.Equal(t, []string{"c", "b", "a"}, keys(storage.CommandFilter{Source: "lemon"}))
		require.Equal(t, []string{"c"}, keys(storage.CommandFilter{States: []storage.CommandState{storage.CommandDead}}))
		require.ElementsMatch(t, []string{"d", "b", "a"}, keys(storage.CommandFilter{States: []storage.CommandState{storage.CommandQueued, storage.CommandAsked}}))
		require.Equal(t, []string{"c", "a"}, keys(storage.CommandFilter{Entity: o1}))
		require.Equal(t, []string{"b"}, keys(storage.CommandFilter{Ref: "mine", Source: "lemon", Kind: "order"}))
		require.Empty(t, keys(storage.CommandFilter{Ref: "mine", Source: "stripe"}))
		require.Equal(t, []string{"c"}, keys(storage.CommandFilter{Source: "lemon", Op: "cancel"}))
		require.Equal(t, []string{"b"}, keys(storage.CommandFilter{From: at(2), To: at(3)}))
		_, err := s.Commands().List(s.ctx, storage.CommandFilter{Cursor: "x"})
		require.ErrorIs(t, err, storage.ErrCursor)
	}},
	{"what is not over is counted", func(t *testing.T, s *suite) {
		counts, err := s.Commands().Counts(s.ctx)
		require.NoError(t, err)
		require.Empty(t, counts.Counts)
		for i, state := range []storage.CommandState{
			storage.CommandQueued, storage.CommandQueued, storage.CommandDead, storage.CommandDone, storage.CommandAsked, storage.CommandAsked, storage.CommandCancelled,
		} {
			c := s.ask(command(fmt.Sprint(i), order("o1").Key, i))
			if c.State = state; state == storage.CommandAsked {
				c.Asked = &storage.CommandQuestion{Since: at(100 - i), Reason: "who knows"}
			}
			require.True(t, s.move(c))
		}
		counts, err = s.Commands().Counts(s.ctx)
		require.NoError(t, err)
		require.ElementsMatch(t, []storage.CommandCount{
			{Source: "lemon", Kind: "order", Op: "update", State: storage.CommandQueued, Count: 2},
			{Source: "lemon", Kind: "order", Op: "update", State: storage.CommandDead, Count: 1},
			{Source: "lemon", Kind: "order", Op: "update", State: storage.CommandAsked, Count: 2},
		}, counts.Counts)
		require.Equal(t, map[string]time.Time{"lemon": at(95)}, counts.AskedSince)
	}},
	{"erasing an entity leaves nothing of its commands that are over", func(t *testing.T, s *suite) {
		o := order("o1")
		for i, state := range []storage.CommandState{storage.CommandDone, storage.CommandDead, storage.CommandUnclear} {
			c := s.ask(command(fmt.Sprint("c", i), o.Key, i))
			c.State, c.Body, c.Reason = state, []byte(`{"name":"Ada"}`), "Ada cannot"
			c.Request = &storage.CommandRequest{Method: "POST", Path: "/orders/o1", Bytes: []byte("name=Ada")}
			c.Attempts = []storage.CommandAttempt{{At: at(1), Status: 422, Error: "no Ada"}, {At: at(2), Status: 200}}
			c.Result = &storage.CommandResult{Status: 422, At: at(2), Body: []byte(`{"name":"Ada"}`)}
			require.True(t, s.move(c))
		}
		_, err := s.Clear(s.ctx, o.Key, "", at(51))
		require.NoError(t, err)
		once := s.command(command("c0", o.Key, 0)).Rev
		_, err = s.Clear(s.ctx, o.Key, "", at(52))
		require.NoError(t, err)
		require.Equal(t, once, s.command(command("c0", o.Key, 0)).Rev, "followers of the feed are told once")
		for i := range 2 {
			c := s.command(command(fmt.Sprint("c", i), o.Key, 0))
			require.NotContains(t, asJSON(t, c), "Ada")
			require.Nil(t, c.Body)
			require.Nil(t, c.Request.Bytes)
			require.Nil(t, c.Result.Body)
			require.Equal(t, storage.ErasedText, c.Attempts[0].Error)
			require.Equal(t, "/orders/o1", c.Request.Path)
			require.True(t, c.Owed, "followers of the feed have what it was")
		}
		require.NotNil(t, s.command(command("c2", o.Key, 0)).Body, "it is still to be found out what became of it")
	}},
}

var commandFeedCases = []testCase{
	{"commands are owed to the feed until it has their newest version", func(t *testing.T, s *suite) {
		var all []*storage.Command
		for i, state := range []storage.CommandState{storage.CommandDone, storage.CommandAsked, storage.CommandDead, storage.CommandQueued} {
			c := s.ask(command(fmt.Sprint("c", i), order("o1").Key, i))
			c.State, c.Owed = state, state != storage.CommandQueued
			require.True(t, s.move(c))
			all = append(all, c)
		}
		refused := command("refused", account("a").Key, 9)
		refused.State, refused.Owed = storage.CommandDead, true
		all = append(all, s.ask(refused))
		elsewhere := command("elsewhere", event.Key{Source: "stripe", Kind: "price", ID: "p"}, 1)
		elsewhere.State, elsewhere.Owed = storage.CommandDead, true
		elsewhere = s.ask(elsewhere)
		want := []storage.Item{itemOf(all[0]), itemOf(all[1]), itemOf(all[2]), itemOf(all[4])}
		require.ElementsMatch(t, want, s.owed("lemon", 100))
		require.Equal(t, s.owed("lemon", 100), s.owed("lemon", 1), "page by page")
		require.Equal(t, []storage.Item{itemOf(elsewhere)}, s.owed("stripe", 100))
		kind, ok := storage.CommandOfItem(itemOf(all[4]).Key)
		require.True(t, ok)
		require.Equal(t, "account", kind)

		again := itemOf(all[1])
		all[1].State = storage.CommandAnswered
		require.True(t, s.move(all[1]), "it changes after it was added to the feed")
		paid, err := s.Commands().Paid(s.ctx, []storage.Item{want[0], again, want[2], {Key: storage.CommandItem("lemon", "order", "cmd_none"), Version: 1}})
		require.NoError(t, err)
		require.Equal(t, 2, paid)
		require.ElementsMatch(t, []storage.Item{itemOf(all[1]), want[3]}, s.owed("lemon", 100))
		done := s.command(all[0])
		require.False(t, done.Owed)
		require.Equal(t, want[0].Version, done.Rev, "who has read it may move it")
		require.True(t, s.move(all[0]), "who has read it before it was paid for owes it again")
		require.True(t, s.command(all[0]).Owed)
		paid, err = s.Commands().Paid(s.ctx, []storage.Item{want[0]})
		require.NoError(t, err)
		require.Zero(t, paid)
	}},
	{"what holds or rings a command leaves its debt", func(t *testing.T, s *suite) {
		c := s.ask(command("a", order("o1").Key, 1))
		c.Owed, c.WaitsFor, c.DueAt = true, []string{"account/main"}, at(60) // as one that was asked before
		require.True(t, s.move(c))
		require.NoError(t, s.Commands().Hold(s.ctx, storage.CommandHold{Source: "lemon", Since: at(1), Reason: "restored"}))
		_, err := s.Commands().Release(s.ctx, "lemon")
		require.NoError(t, err)
		_, err = s.Commands().Bind(s.ctx, storage.Ref{Lane: storage.RefLane("lemon", "account", "main"), Entity: account("cusa_1").Key, At: at(2)})
		require.NoError(t, err)
		now := s.command(c)
		require.Greater(t, now.Rev, c.Rev)
		require.Equal(t, []storage.Item{itemOf(now)}, s.owed("lemon", 10))
		moved, err := s.Commands().Forward(s.ctx, now, order("o2").Key)
		require.NoError(t, err)
		require.True(t, moved)
		require.Equal(t, []storage.Item{itemOf(now)}, s.owed("lemon", 10))
	}},
	{"commands are read by their ids", func(t *testing.T, s *suite) {
		a, b := s.ask(command("a", order("o1").Key, 1)), s.ask(command("b", order("o2").Key, 1))
		s.ask(command("c", order("o2").Key, 1))
		found, err := s.Commands().Named(s.ctx, []string{b.ID, "cmd_none", a.ID})
		require.NoError(t, err)
		require.Len(t, found, 2)
		for _, c := range found {
			require.Equal(t, asJSON(t, s.command(c)), asJSON(t, c))
		}
		found, err = s.Commands().Named(s.ctx, nil)
		require.NoError(t, err)
		require.Empty(t, found)
	}},
}

// itemOf is what the feed has of a command.
func itemOf(c *storage.Command) storage.Item {
	return storage.Item{Key: storage.CommandItem(c.Source, c.Kind, c.ID), Version: c.Rev}
}

// owed are the commands of a source that the feed lacks, read in pages.
func (s *suite) owed(source string, limit int) (items []storage.Item) {
	s.t.Helper()
	for after := ""; ; {
		page, err := s.Commands().Owed(s.ctx, source, after, limit)
		require.NoError(s.t, err)
		items = append(items, page...)
		if len(page) < limit {
			return items
		}
		after = page[len(page)-1].Key.ID
	}
}

var commandLaneCases = []testCase{
	{"the commands of a lane are in the order in which they were asked for", func(t *testing.T, s *suite) {
		lane, other := order("o1").Key, under("cusa_1", "o1").Key
		for i := range 5 {
			s.ask(command(fmt.Sprint("c", i), lane, 9-i)) // whatever the clocks of their askers say
		}
		s.ask(command("elsewhere", other, 1))
		require.Equal(t, []string{"c0", "c1", "c2", "c3", "c4"}, s.open(lane))
		require.Equal(t, []string{"elsewhere"}, s.open(other))
		done := s.command(command("c1", lane, 0))
		done.State = storage.CommandDead
		require.True(t, s.move(done))
		answered := s.command(command("c0", lane, 0))
		answered.State = storage.CommandAnswered
		require.True(t, s.move(answered))
		require.Equal(t, []string{"c0", "c2", "c3", "c4"}, s.open(lane))
		first, err := s.Commands().Open(s.ctx, lane, 2)
		require.NoError(t, err)
		require.Len(t, first, 2)
	}},
	{"who asks after an answer has the higher number", func(t *testing.T, s *suite) {
		var wg sync.WaitGroup
		failed := make(chan error, 8)
		for i := range 8 {
			wg.Go(func() {
				last := int64(0)
				for j := range 5 {
					c, err := s.Commands().Ask(s.ctx, command(fmt.Sprint(i, "-", j), order("o1").Key, 1))
					if err == nil && c.N <= last {
						err = fmt.Errorf("%d after %d", c.N, last)
					}
					if err != nil {
						failed <- err
						return
					}
					last = c.N
				}
			})
		}
		wg.Wait()
		close(failed)
		require.NoError(t, <-failed)
		found, err := s.Commands().Open(s.ctx, order("o1").Key, 100)
		require.NoError(t, err)
		require.Len(t, found, 40)
		for i := 1; i < len(found); i++ {
			require.Less(t, found[i-1].N, found[i].N)
		}
	}},
	{"a command is forwarded to the end of another lane, once", func(t *testing.T, s *suite) {
		from, to := storage.RefLane("lemon", "order", "mine"), order("o1").Key
		s.ask(command("there", to, 1))
		a, b := s.ask(command("a", from, 1)), s.ask(command("b", from, 1))
		twice := *a
		for _, c := range []*storage.Command{a, b} {
			moved, err := s.Commands().Forward(s.ctx, c, to)
			require.NoError(t, err)
			require.True(t, moved)
			require.Equal(t, asJSON(t, c), asJSON(t, s.command(c)))
		}
		moved, err := s.Commands().Forward(s.ctx, &twice, to)
		require.NoError(t, err)
		require.False(t, moved)
		require.Equal(t, from, twice.Lane)
		s.ask(command("last", to, 1))
		require.Equal(t, []string{"there", "a", "b", "last"}, s.open(to))
		require.Empty(t, s.open(from))
	}},
	{"commands are due in the order of their times, whatever their lane", func(t *testing.T, s *suite) {
		for i, c := range []*storage.Command{
			command("third", order("o1").Key, 3), command("first", order("o2").Key, 1), command("second", order("o1").Key, 1),
			command("later", order("o3").Key, 9), command("elsewhere", event.Key{Source: "stripe", Kind: "price", ID: "p"}, 1),
		} {
			c = s.ask(c)
			if i == 2 {
				c.State, c.DueAt = storage.CommandSending, at(2)
				require.True(t, s.move(c))
			}
		}
		never := s.ask(command("never", order("o4").Key, 1))
		never.DueAt = time.Time{}
		require.True(t, s.move(never))
		over := s.ask(command("over", order("o4").Key, 1))
		over.State = storage.CommandDone
		require.True(t, s.move(over))
		for _, limit := range []int{1, 2, 100} {
			require.Equal(t, []string{"first", "second", "third"}, s.due("lemon", at(3), limit), limit)
		}
		due, _, err := s.Commands().Due(s.ctx, "lemon", at(1), 10, "")
		require.NoError(t, err)
		first := s.command(command("first", order("o2").Key, 1))
		require.Equal(t, []storage.DueCommand{{ID: first.ID, Lane: first.Lane, Parents: first.Parents, Trace: first.Trace, DueAt: at(1)}}, due)
		_, _, err = s.Commands().Due(s.ctx, "lemon", at(1), 10, "x")
		require.ErrorIs(t, err, storage.ErrCursor)
	}},
	{"what waits behind a command is not due before it", func(t *testing.T, s *suite) {
		lane := order("o1").Key
		head, behind, late := s.ask(command("head", lane, 1)), s.ask(command("behind", lane, 1)), s.ask(command("late", lane, 90))
		s.ask(command("elsewhere", order("o2").Key, 1))
		head.State, head.DueAt = storage.CommandUnclear, at(1)
		require.True(t, s.move(head))
		require.NoError(t, s.Commands().Defer(s.ctx, lane, head.N, at(20)))
		require.ElementsMatch(t, []string{"head", "elsewhere"}, s.due("lemon", at(10), 100))
		require.Equal(t, at(20), s.command(behind).DueAt)
		require.Equal(t, at(90), s.command(late).DueAt)
	}},
	{"the commands of a source are held until they are released", func(t *testing.T, s *suite) {
		commands := s.Commands()
		holds := func() []storage.CommandHold {
			found, err := commands.Holds(s.ctx)
			require.NoError(t, err)
			return found
		}
		require.Empty(t, holds())
		_, err := commands.Release(s.ctx, "lemon")
		require.ErrorIs(t, err, storage.ErrNotFound)

		stripe, lemon := storage.CommandHold{Source: "stripe", Since: at(1), Reason: "restored"}, storage.CommandHold{Source: "lemon", Since: at(2), Reason: "restored"}
		require.NoError(t, commands.Hold(s.ctx, stripe))
		require.NoError(t, commands.Hold(s.ctx, lemon))
		require.NoError(t, commands.Hold(s.ctx, storage.CommandHold{Source: "lemon", Since: at(9), Reason: "again"}))
		require.Equal(t, []storage.CommandHold{lemon, stripe}, holds(), "the first hold stays")
		was, err := commands.Release(s.ctx, "lemon")
		require.NoError(t, err)
		require.Equal(t, &lemon, was)
		_, err = commands.Release(s.ctx, "lemon")
		require.ErrorIs(t, err, storage.ErrNotFound)
		require.Equal(t, []storage.CommandHold{stripe}, holds())
	}},
	{"of those that hold a source at once one does", func(t *testing.T, s *suite) {
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() {
				errs[i] = s.Commands().Hold(s.ctx, storage.CommandHold{Source: "lemon", Since: at(i), Reason: "restored"})
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		found, err := s.Commands().Holds(s.ctx)
		require.NoError(t, err)
		require.Len(t, found, 1)
	}},
}

var refCases = []testCase{
	{"a ref names one entity", func(t *testing.T, s *suite) {
		lane, entity, other := storage.RefLane("lemon", "order", "mine"), under("cusa_1", "o1").Key, order("o2").Key
		_, err := s.Commands().Ref(s.ctx, lane)
		require.ErrorIs(t, err, storage.ErrNotFound)
		_, err = s.Commands().RefTo(s.ctx, entity)
		require.ErrorIs(t, err, storage.ErrNotFound)
		s.ask(command("a", lane, 1))
		unbound, err := s.Commands().Ref(s.ctx, lane)
		require.NoError(t, err)
		require.Equal(t, &storage.Ref{Lane: lane, N: 1}, unbound)

		want := &storage.Ref{Lane: lane, N: 1, Entity: entity, Parents: map[string]string{"account": "cusa_1"}, By: "cmd_1", At: at(1)}
		bound, err := s.Commands().Bind(s.ctx, *want)
		require.NoError(t, err)
		require.Equal(t, want, bound)
		bound, err = s.Commands().Bind(s.ctx, storage.Ref{Lane: lane, Entity: other, By: "cmd_2", At: at(2)})
		require.NoError(t, err)
		require.Equal(t, want, bound, "the first stays")
		found, err := s.Commands().RefTo(s.ctx, entity)
		require.NoError(t, err)
		require.Equal(t, want, found)

		bound, err = s.Commands().Rebind(s.ctx, storage.Ref{Lane: lane, Entity: other, By: "ops", At: at(3)})
		require.NoError(t, err)
		require.Equal(t, &storage.Ref{Lane: lane, N: 1, Entity: other, By: "ops", At: at(3)}, bound)
		_, err = s.Commands().RefTo(s.ctx, entity)
		require.ErrorIs(t, err, storage.ErrNotFound)
		require.EqualValues(t, 2, s.ask(command("b", lane, 1)).N, "numbers go on")
	}},
	{"a ref is bound before anything was asked of it, by one of many", func(t *testing.T, s *suite) {
		lane := storage.RefLane("lemon", "order", "mine")
		var wg sync.WaitGroup
		errs := make([]error, 8)
		names := make([]event.Key, 8)
		for i := range errs {
			wg.Go(func() {
				bound, err := s.Commands().Bind(s.ctx, storage.Ref{Lane: lane, Entity: order(fmt.Sprint("o", i)).Key, By: "x", At: at(1)})
				if errs[i] = err; err == nil {
					names[i] = bound.Entity
				}
			})
		}
		wg.Wait()
		require.NoError(t, errors.Join(errs...))
		for _, k := range names {
			require.Equal(t, names[0], k)
		}
		require.EqualValues(t, 1, s.ask(command("a", lane, 1)).N)
	}},
	{"what waits for a ref is due when it is bound", func(t *testing.T, s *suite) {
		wait := func(key string, refs ...string) *storage.Command {
			c := s.ask(command(key, order(key).Key, 1))
			c.WaitsFor, c.DueAt = refs, at(60)
			require.True(t, s.move(c))
			return c
		}
		a, b, over := wait("a", "account/main", "account/other"), wait("b", "account/other"), wait("over", "account/main")
		over.State = storage.CommandDead
		require.True(t, s.move(over))
		_, err := s.Commands().Bind(s.ctx, storage.Ref{Lane: storage.RefLane("lemon", "account", "main"), Entity: account("cusa_1").Key, At: at(2)})
		require.NoError(t, err)
		require.Equal(t, []string{"a"}, s.due("lemon", at(2), 10))
		require.False(t, s.move(a), "who read it before reads it again")
		require.Equal(t, at(60), s.command(b).DueAt)
		require.Equal(t, at(60), s.command(over).DueAt)
	}},
}
