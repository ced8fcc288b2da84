package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

var settleCases = []testCase{
	{"a settled outcome names what covered it", func(t *testing.T, s *suite) {
		a := arrival("evt_covered", order("o1"), account("cusa_1"))
		s.log(a)
		d := settlement(a, account("cusa_1"), 7)
		d.Signal, d.CoveredBy.Signal, d.CoveredBy.StateHash = entry(3, "5-0"), "8-0", "ab12"
		s.settle(d)
		require.Equal(t, "pending: pending processed", s.statuses(a))
		require.True(t, s.row(a).ProcessedAt.IsZero())
		got := s.row(a).Entities[1]
		require.Equal(t, entry(3, "5-0"), got.Signal)
		require.Equal(t, &storage.Covered{Claim: 7, FetchedAt: at(5), Signal: "8-0", StateHash: "ab12"}, got.CoveredBy)
		s.settle(settlement(a, order("o1"), 1))
		require.Equal(t, "processed: processed processed", s.statuses(a))
		require.Equal(t, at(6), s.row(a).ProcessedAt)
	}},
	{"settling twice changes nothing", func(t *testing.T, s *suite) {
		a := arrival("evt_twice", order("o1"))
		s.log(a)
		s.settle(settlement(a, order("o1"), 1))
		before := asJSON(t, s.row(a))
		again := settlement(a, order("o1"), 2)
		again.Lagging, again.At = true, at(60)
		s.settle(again, again)
		require.Equal(t, before, asJSON(t, s.row(a)))
	}},
	{"what the log does not have is left", func(t *testing.T, s *suite) {
		a := arrival("evt_known", order("o1"))
		s.log(a)
		s.settle(settlement(arrival("evt_unknown"), order("o1"), 1), settlement(a, order("other"), 1))
		s.settle()
		require.Equal(t, "pending: pending", s.statuses(a))
	}},
	{"flags stay once true", func(t *testing.T, s *suite) {
		a := arrival("evt_flags", order("o1"), account("cusa_1"))
		s.log(a)
		first, second := settlement(a, order("o1"), 1), settlement(a, account("cusa_1"), 1)
		first.OutOfOrder, first.Lagging, first.ParentsDiffer, second.Overtaken = true, true, true, true
		s.settle(first)
		s.settle(second)
		row := s.row(a)
		require.True(t, row.OutOfOrder && row.Lagging && row.Overtaken && row.ParentsDiffer)
	}},
	{"a long batch settles row by row", func(t *testing.T, s *suite) {
		var arrivals []storage.Arrival
		var done []storage.Settlement
		for i := range 12 {
			a := arrival("evt_long_"+string(rune('a'+i)), order("o1"), account("cusa_1"))
			arrivals = append(arrivals, a)
			done = append(done, settlement(a, order("o1"), 3), settlement(a, account("cusa_1"), 4))
		}
		s.log(arrivals...)
		s.settle(done...)
		for _, a := range []storage.Arrival{arrivals[0], arrivals[9], arrivals[10], arrivals[11]} {
			require.Equal(t, "processed: processed processed", s.statuses(a))
		}
	}},
	{"a failure is counted and the entity falls behind", func(t *testing.T, s *suite) {
		a, b := arrival("evt_failed", order("o1"), account("cusa_1")), arrival("evt_behind_it", order("o1"))
		s.log(a, b)
		s.claim(order("o1"))
		s.fail(failure(a, order("o1"), at(21)), failure(b, order("o1"), at(20)))
		for _, x := range []storage.Arrival{a, b} {
			row := s.row(x)
			require.Equal(t, storage.Retrying, row.Status)
			require.Equal(t, 1, row.Attempts)
			require.Equal(t, "GET: 503 Service Unavailable", row.Error)
			require.Equal(t, "GET: 503 Service Unavailable", row.Entities[0].Error)
			require.Equal(t, row.Entities[0].FailedAt.Add(time.Minute), row.Entities[0].NextAt)
			require.Equal(t, storage.Pending, row.Entities[0].Status, "an outcome is open until it is settled")
		}
		require.Equal(t, at(21), s.row(a).Entities[0].FailedAt)
		require.Zero(t, s.row(a).Entities[1].FailedAt, "the account has not failed")
		require.Empty(t, s.row(a).Entities[1].Error)
		require.Equal(t, &storage.Behind{Since: at(20), Reason: storage.ReasonRetrying}, s.entity(order("o1")).Behind)

		s.fail(failure(a, order("o1"), at(21)))
		require.Equal(t, 1, s.row(a).Attempts, "the same failure recorded twice")
		s.fail(failure(a, order("o1"), at(80)))
		require.Equal(t, 2, s.row(a).Attempts)
		require.Equal(t, at(20), s.entity(order("o1")).Behind.Since, "it is behind since the first")

		s.settle(settlement(a, order("o1"), 2))
		require.Equal(t, storage.Retrying, s.row(a).Status, "the account is still open")
		s.settle(settlement(a, account("cusa_1"), 1))
		require.Equal(t, storage.Processed, s.row(a).Status)
		require.Equal(t, 2, s.row(a).Attempts)
	}},
	{"a failure that costs no attempt is noted", func(t *testing.T, s *suite) {
		a := arrival("evt_uncharged", order("o1"))
		s.log(a)
		s.claim(order("o1"))
		f := failure(a, order("o1"), at(20))
		f.Uncharged, f.Error = true, "GET: 404 Not Found"
		s.fail(f)
		row := s.row(a)
		require.Equal(t, storage.Retrying, row.Status)
		require.Zero(t, row.Attempts)
		require.Equal(t, "GET: 404 Not Found", row.Error)
		require.Equal(t, at(20).Add(time.Minute), row.Entities[0].NextAt)
		require.Equal(t, &storage.Behind{Since: at(20), Reason: storage.ReasonRetrying}, s.entity(order("o1")).Behind)
		s.fail(failure(a, order("o1"), at(80)))
		require.Equal(t, 1, s.row(a).Attempts)
	}},
	{"a failure of settled work is not counted", func(t *testing.T, s *suite) {
		a := arrival("evt_settled", order("o1"))
		s.log(a)
		s.settle(settlement(a, order("o1"), 1))
		s.fail(failure(a, order("o1"), at(20)), failure(arrival("evt_unknown"), order("o1"), at(20)))
		s.fail()
		require.Equal(t, storage.Processed, s.row(a).Status)
		require.Zero(t, s.row(a).Attempts)
	}},
	{"the row's status is the first that applies", testPrecedence},
}

// testPrecedence brings three outcomes to different ends, in every order.
func testPrecedence(t *testing.T, s *suite) {
	refs := []event.Ref{order("o1"), order("o2"), order("o3")}
	a := arrival("evt_precedence", refs...)
	s.log(a)
	s.settle(settlement(a, refs[0], 1))
	require.Equal(t, "pending: processed pending pending", s.statuses(a))

	s.bury(letter(a, refs[1], 1))
	require.Equal(t, "pending: processed dead pending", s.statuses(a), "open comes before dead")

	s.sync(refs[2], state(1))
	s.sync(refs[2], state(2))
	require.Equal(t, []bool{true}, s.bury(letter(a, refs[2], 1)))
	require.Equal(t, "dead: processed dead superseded", s.statuses(a), "dead comes before superseded")

	require.Equal(t, 1, s.supersede(refs[1].Key, 2))
	require.Equal(t, "superseded: processed superseded superseded", s.statuses(a), "superseded comes before processed")
}
