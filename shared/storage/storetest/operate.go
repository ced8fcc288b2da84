package storetest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

var operateCases = []testCase{
	{"a dead letter is read whole", func(t *testing.T, s *suite) {
		a := arrival("evt_whole", order("o1"))
		s.log(a)
		l := letter(a, order("o1"), 1)
		s.bury(l)
		got, err := s.LetterByID(s.ctx, l.ID())
		require.NoError(t, err)
		require.Equal(t, asJSON(t, &storage.LetterRecord{
			Letter: l, Status: storage.LetterOpen, EventType: "order.executed", Payload: a.Event.Payload,
		}), asJSON(t, got))
		_, err = s.LetterByID(s.ctx, "dl_nothing")
		require.ErrorIs(t, err, storage.ErrNotFound)
	}},
	{"dead letters are listed newest first, by any filter", func(t *testing.T, s *suite) {
		var want []string
		for i, id := range []string{"evt_a", "evt_b", "evt_c"} {
			a := arrival(id, order("o"+id))
			s.log(a)
			l := letter(a, order("o"+id), 1)
			l.At = at(10 + i)
			s.bury(l)
			want = append([]string{l.ID()}, want...)
		}
		other := letter(arrival("evt_other", account("cusa_1")), account("cusa_1"), 1)
		other.Class, other.At = "gone", at(50)
		s.bury(other)

		f := storage.LetterFilter{Kind: "order", Limit: 2}
		first, err := s.Letters(s.ctx, f)
		require.NoError(t, err)
		f.Cursor = first.NextCursor
		second, err := s.Letters(s.ctx, f)
		require.NoError(t, err)
		require.Empty(t, second.NextCursor)
		require.Equal(t, want, letterIDs(append(first.Items, second.Items...)))

		for name, f := range map[string]storage.LetterFilter{
			"class":  {Class: "gone"},
			"kind":   {Kind: "account"},
			"entity": {Entity: account("cusa_1").Key},
			"from":   {From: at(50)},
		} {
			got, err := s.Letters(s.ctx, f)
			require.NoError(t, err, name)
			require.Equal(t, []string{other.ID()}, letterIDs(got.Items), name)
			f.Status = storage.LetterOpen
			n, err := s.CountLetters(s.ctx, f)
			require.NoError(t, err, name)
			require.EqualValues(t, 1, n, name)
		}
		for name, f := range map[string]storage.LetterFilter{
			"type": {Type: "order.executed"}, "to": {To: at(13)},
			"all": {Status: storage.LetterOpen, Source: "lemon", Type: "order.executed", Kind: "order", Class: "permanent", From: at(1), To: at(20)},
		} {
			f.Status = storage.LetterOpen
			n, err := s.CountLetters(s.ctx, f)
			require.NoError(t, err, name)
			require.EqualValues(t, 3, n, name)
		}
		n, err := s.CountLetters(s.ctx, storage.LetterFilter{Status: storage.LetterDiscarded})
		require.NoError(t, err)
		require.Zero(t, n)
		open, err := s.OpenLetters(s.ctx)
		require.NoError(t, err)
		require.Equal(t, map[string]int64{"lemon": 4}, open)
		_, err = s.Letters(s.ctx, storage.LetterFilter{Cursor: "x"})
		require.ErrorIs(t, err, storage.ErrCursor)
	}},
	{"a redriven dead letter opens its work again", func(t *testing.T, s *suite) {
		a := arrival("evt_redriven", order("o1"))
		s.log(a)
		l := letter(a, order("o1"), s.claim(order("o1")).Claim)
		s.bury(l)
		n, err := s.Redriven(s.ctx, []string{l.ID(), "dl_nothing"}, "ops", at(60))
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, "pending: pending", s.statuses(a))
		require.True(t, s.row(a).ProcessedAt.IsZero())
		require.Zero(t, s.entity(order("o1")).OpenLetters)
		require.Nil(t, s.entity(order("o1")).Behind)
		got, err := s.LetterByID(s.ctx, l.ID())
		require.NoError(t, err)
		require.Equal(t, storage.LetterRedriven, got.Status)
		require.Equal(t, "ops", got.By)
		require.Equal(t, at(60), got.ClosedAt)

		n, err = s.Redriven(s.ctx, []string{l.ID()}, "ops", at(61))
		require.NoError(t, err)
		require.Zero(t, n, "once")

		claim := s.sync(order("o1"), state(1))
		s.settle(settlement(a, order("o1"), claim))
		require.Equal(t, "processed: processed", s.statuses(a))
	}},
	{"redriven work that fails again is the same dead letter with all its attempts", func(t *testing.T, s *suite) {
		a := arrival("evt_refails", order("o1"))
		s.log(a)
		l := letter(a, order("o1"), s.claim(order("o1")).Claim)
		s.bury(l)
		_, err := s.Redriven(s.ctx, []string{l.ID()}, "ops", at(60))
		require.NoError(t, err)
		again := letter(a, order("o1"), s.claim(order("o1")).Claim)
		again.Attempts = []storage.Attempt{{At: at(70), Error: "GET: 500"}}
		again.At = at(71)
		s.bury(again)
		s.bury(again)
		got, err := s.LetterByID(s.ctx, l.ID())
		require.NoError(t, err)
		require.Equal(t, storage.LetterOpen, got.Status)
		require.True(t, got.ClosedAt.IsZero())
		require.Empty(t, got.By)
		require.Equal(t, append(l.Attempts, again.Attempts...), got.Attempts)
		require.Equal(t, 1, s.entity(order("o1")).OpenLetters)
		require.Equal(t, "dead: dead", s.statuses(a))
	}},
	{"work that was done before its dead letter was marked stays superseded", func(t *testing.T, s *suite) {
		a := arrival("evt_faster", order("o1"))
		s.log(a)
		l := letter(a, order("o1"), s.claim(order("o1")).Claim)
		s.bury(l)
		claim := s.sync(order("o1"), state(2)) // the redriven signal was quick
		s.settle(settlement(a, order("o1"), claim))
		require.Equal(t, 1, s.supersede(order("o1").Key, claim))
		n, err := s.Redriven(s.ctx, []string{l.ID()}, "ops", at(60))
		require.NoError(t, err)
		require.Zero(t, n)
		require.Equal(t, "superseded: superseded", s.statuses(a))
	}},
	{"a discarded dead letter is given up with a reason", func(t *testing.T, s *suite) {
		a := arrival("evt_discarded", order("o1"), account("cusa_1"))
		s.log(a)
		l := letter(a, order("o1"), s.claim(order("o1")).Claim)
		s.bury(l)
		n, err := s.Discard(s.ctx, []string{l.ID()}, "ops", "a test account", at(60))
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, "pending: discarded pending", s.statuses(a))
		s.settle(settlement(a, account("cusa_1"), 1))
		require.Equal(t, "discarded: discarded processed", s.statuses(a))
		require.Nil(t, s.entity(order("o1")).Behind)
		got, err := s.LetterByID(s.ctx, l.ID())
		require.NoError(t, err)
		require.Equal(t, storage.LetterDiscarded, got.Status)
		require.Equal(t, "a test account", got.Reason)
		require.Zero(t, s.supersede(order("o1").Key, 99), "it is no longer open")
	}},
}

func letterIDs(letters []*storage.LetterRecord) (ids []string) {
	for _, l := range letters {
		ids = append(ids, l.ID())
	}
	return ids
}

var recoveryCases = []testCase{
	{"unsettled rows come oldest first, page by page", func(t *testing.T, s *suite) {
		var all []storage.Arrival
		for i, id := range []string{"evt_c", "evt_b", "evt_a", "evt_done", "evt_late"} {
			a := arrival(id, order("o1"), account("cusa_1"))
			a.Event.ReceivedAt = at(i)
			all = append(all, a)
		}
		s.log(all...)
		s.settle(settlement(all[0], order("o1"), 1))
		for _, r := range []event.Ref{order("o1"), account("cusa_1")} {
			s.settle(settlement(all[3], r, 1))
		}
		s.fail(failure(all[2], order("o1"), at(9)))

		var got []string
		for cursor := ""; ; {
			rows, next, err := s.Unsettled(s.ctx, "lemon", at(4), 2, cursor)
			require.NoError(t, err)
			for _, r := range rows {
				got = append(got, r.ID)
				require.Len(t, r.Entities, 2)
			}
			if cursor = next; next == "" {
				break
			}
		}
		require.Equal(t, []string{"evt_c", "evt_b", "evt_a"}, got)
		rows, _, err := s.Unsettled(s.ctx, "stripe", at(99), 10, "")
		require.NoError(t, err)
		require.Empty(t, rows)
		_, _, err = s.Unsettled(s.ctx, "lemon", at(99), 10, "x")
		require.ErrorIs(t, err, storage.ErrCursor)
	}},
	{"an outcome has its current entry", func(t *testing.T, s *suite) {
		a := arrival("evt_requeued", order("o1"), account("cusa_1"))
		s.log(a)
		row := func() *storage.EventRow {
			rows, _, err := s.Unsettled(s.ctx, "lemon", at(99), 10, "")
			require.NoError(t, err)
			require.Len(t, rows, 1)
			return rows[0]
		}
		require.Equal(t, a.Signal, row().Entities[0].Signal)
		require.Empty(t, row().Entities[1].Signal.ID)
		s.settle(settlement(a, order("o1"), 1))
		require.NoError(t, s.Requeued(s.ctx, []storage.Requeue{
			{Source: "lemon", EventID: "evt_requeued", Entity: order("o1").Key, Signal: entry(3, "9-1")},
			{Source: "lemon", EventID: "evt_requeued", Entity: account("cusa_1").Key, Signal: entry(4, "9-2")},
			{Source: "lemon", EventID: "evt_unknown", Entity: account("cusa_1").Key, Signal: entry(4, "9-3")},
		}))
		require.Equal(t, a.Signal, row().Entities[0].Signal, "settled ones are left")
		require.Equal(t, entry(4, "9-2"), row().Entities[1].Signal)
		require.NoError(t, s.Requeued(s.ctx, nil))
	}},
	{"the newest entry of the primary entity is its current one", func(t *testing.T, s *suite) {
		a := arrival("evt_newest", order("o1"), account("cusa_1"))
		s.log(a)
		signals := func() (out []storage.SignalID) {
			rows, _, err := s.Unsettled(s.ctx, "lemon", at(99), 10, "")
			require.NoError(t, err)
			for _, o := range rows[0].Entities {
				out = append(out, o.Signal)
			}
			return out
		}
		again := a
		again.Signal = entry(1, "7-0")
		s.log(again)
		require.Equal(t, []storage.SignalID{entry(1, "7-0"), {}}, signals(), "the provider sent it again")
		s.log(a)
		require.Equal(t, entry(1, "7-0"), signals()[0], "an entry seen before is none")
		f := failure(a, account("cusa_1"), at(9))
		f.Signal = entry(4, "8-0")
		s.fail(f)
		require.Equal(t, entry(4, "8-0"), signals()[1])
		require.NoError(t, s.Requeued(s.ctx, []storage.Requeue{
			{Source: "lemon", EventID: "evt_newest", Entity: order("o1").Key, Signal: entry(1, "9-0")},
			{Source: "lemon", EventID: "evt_newest", Entity: account("cusa_1").Key, Signal: entry(4, "9-1")},
			{Source: "lemon", EventID: "evt_newest", Entity: account("other").Key, Signal: entry(4, "9-2")},
		}))
		require.Equal(t, []storage.SignalID{entry(1, "9-0"), entry(4, "9-1")}, signals())
		require.Equal(t, "retrying: pending pending", s.statuses(a))
	}},
	{"paging goes on in its place while rows settle and come", func(t *testing.T, s *suite) {
		var all []storage.Arrival
		for i := range 9 {
			a := arrival(fmt.Sprintf("evt_%d", i), order("o1"))
			a.Event.ReceivedAt = at(i / 3) // three at the same time
			all = append(all, a)
		}
		s.log(all...)
		var got []string
		for i, cursor := 0, ""; ; i++ {
			rows, next, err := s.Unsettled(s.ctx, "lemon", at(50), 2, cursor)
			require.NoError(t, err)
			for _, r := range rows {
				got = append(got, r.ID)
				s.settle(storage.Settlement{Source: "lemon", EventID: r.ID, Entity: order("o1").Key, At: at(60)})
			}
			if cursor = next; next == "" {
				break
			}
			late := arrival(fmt.Sprintf("evt_late_%d", i), order("o1"))
			late.Event.ReceivedAt = at(50 + i)
			s.log(late)
		}
		require.Equal(t, []string{"evt_0", "evt_1", "evt_2", "evt_3", "evt_4", "evt_5", "evt_6", "evt_7", "evt_8"}, got)
	}},
	{"known events are distinguished from unknown ones", func(t *testing.T, s *suite) {
		s.log(arrival("evt_known", order("o1")), arrival("evt_alone"))
		known, err := s.KnownEvents(s.ctx, "lemon", []string{"evt_known", "evt_unknown", "evt_alone"})
		require.NoError(t, err)
		require.Equal(t, map[string]bool{"evt_known": true, "evt_alone": true}, known)
		known, err = s.KnownEvents(s.ctx, "stripe", []string{"evt_known"})
		require.NoError(t, err)
		require.Empty(t, known)
		known, err = s.KnownEvents(s.ctx, "lemon", nil)
		require.NoError(t, err)
		require.Empty(t, known)
	}},
	{"homes are the primary entities of events, however many", func(t *testing.T, s *suite) {
		var all []storage.Arrival
		var ids []string
		want := map[string]event.Key{"evt_alone": {Source: "lemon", ID: "evt_alone"}}
		for i := range 1001 {
			id := fmt.Sprint("evt_", i)
			all, ids = append(all, arrival(id, order(fmt.Sprint("a/", i)), account("cusa_1"))), append(ids, id)
			want[id] = order(fmt.Sprint("a/", i)).Key
		}
		s.log(append(all, arrival("evt_alone"))...)
		homes, err := s.Homes(s.ctx, "lemon", append(ids, "evt_alone", "evt_unknown"))
		require.NoError(t, err)
		require.Equal(t, want, homes)
		homes, err = s.Homes(s.ctx, "stripe", ids)
		require.NoError(t, err)
		require.Empty(t, homes)
	}},
}
