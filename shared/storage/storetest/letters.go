package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
)

var letterCases = []testCase{
	{"a buried event is dead and its entity behind", func(t *testing.T, s *suite) {
		a := arrival("evt_buried", order("o1"))
		s.log(a)
		claim := s.claim(order("o1")).Claim
		require.Equal(t, []bool{false}, s.bury(letter(a, order("o1"), claim)))
		require.Equal(t, "dead: dead", s.statuses(a))
		require.Equal(t, at(8), s.row(a).ProcessedAt)
		doc := s.entity(order("o1"))
		require.Equal(t, 1, doc.OpenLetters)
		require.Equal(t, &storage.Behind{Since: at(8), Reason: storage.ReasonDeadLetter}, doc.Behind)
		require.EqualValues(t, claim, doc.Claim)
	}},
	{"burying twice makes one letter", func(t *testing.T, s *suite) {
		a, b := arrival("evt_one", order("o1")), arrival("evt_two", order("o1"))
		s.log(a, b)
		s.claim(order("o1"))
		s.bury(letter(a, order("o1"), 1), letter(a, order("o1"), 1))
		s.bury(letter(a, order("o1"), 1))
		require.Equal(t, 1, s.entity(order("o1")).OpenLetters)
		s.bury(letter(b, order("o1"), 1))
		require.Equal(t, 2, s.entity(order("o1")).OpenLetters, "another event is another letter")
		require.Empty(t, s.bury())
	}},
	{"what is retrying stays behind since then", func(t *testing.T, s *suite) {
		a := arrival("evt_tried", order("o1"))
		s.log(a)
		s.claim(order("o1"))
		s.fail(failure(a, order("o1"), at(2)))
		s.bury(letter(a, order("o1"), 1))
		require.Equal(t, &storage.Behind{Since: at(2), Reason: storage.ReasonDeadLetter}, s.entity(order("o1")).Behind)
	}},
	{"an entity never claimed can have a letter", func(t *testing.T, s *suite) {
		a := arrival("evt_unclaimed", order("o1"))
		s.log(a)
		s.bury(letter(a, order("o1"), 0))
		require.Equal(t, 1, s.entity(order("o1")).OpenLetters)
		require.False(t, s.entity(order("o1")).Known())
		require.EqualValues(t, 1, s.claim(order("o1")).Claim)
	}},
	{"an event that is not in the log can have a letter", func(t *testing.T, s *suite) {
		s.bury(letter(arrival("evt_lost"), order("o1"), 0))
		require.Equal(t, 1, s.entity(order("o1")).OpenLetters)
		s.sync(order("o1"), state(1))
		require.Equal(t, 1, s.supersede(order("o1").Key, 1))
	}},
	{"a dead letter a later sync has overtaken is superseded at once", func(t *testing.T, s *suite) {
		a := arrival("evt_overtaken", order("o1"), account("cusa_1"))
		s.log(a)
		stale := s.claim(order("o1")).Claim
		s.sync(order("o1"), state(2))
		require.Equal(t, []bool{true, false}, s.bury(letter(a, order("o1"), stale), letter(a, account("cusa_1"), 0)))
		require.Equal(t, "dead: superseded dead", s.statuses(a))
		doc := s.entity(order("o1"))
		require.Zero(t, doc.OpenLetters)
		require.Nil(t, doc.Behind)
		require.Equal(t, []bool{true}, s.bury(letter(a, order("o1"), stale)), "the answer is the same when asked again")
	}},
	{"a sync of the same claim does not supersede", func(t *testing.T, s *suite) {
		a := arrival("evt_same", order("o1"))
		s.log(a)
		claim := s.sync(order("o1"), state(1))
		require.Equal(t, []bool{false}, s.bury(letter(a, order("o1"), claim)))
		require.Zero(t, s.supersede(order("o1").Key, claim))
		require.Equal(t, 1, s.entity(order("o1")).OpenLetters)
	}},
	{"a good sync supersedes the dead letters before it", func(t *testing.T, s *suite) {
		a, b, c := arrival("evt_a", order("o1")), arrival("evt_b", order("o1")), arrival("evt_c", order("o2"))
		s.log(a, b, c)
		s.claim(order("o1"))
		s.bury(letter(a, order("o1"), 1), letter(b, order("o1"), 3), letter(c, order("o2"), 1))
		s.claim(order("o1"))
		s.write(write(order("o1"), 2, state(2)))
		require.NotNil(t, s.entity(order("o1")).Behind, "open dead letters keep it behind")

		require.Equal(t, 1, s.supersede(order("o1").Key, 2))
		require.Equal(t, "superseded: superseded", s.statuses(a))
		require.Equal(t, "dead: dead", s.statuses(b))
		require.Equal(t, "dead: dead", s.statuses(c))
		require.Equal(t, 1, s.entity(order("o1")).OpenLetters)
		require.NotNil(t, s.entity(order("o1")).Behind)

		require.Equal(t, 1, s.supersede(order("o1").Key, 4))
		require.Zero(t, s.supersede(order("o1").Key, 4))
		require.Zero(t, s.entity(order("o1")).OpenLetters)
		require.Nil(t, s.entity(order("o1")).Behind)
		require.Equal(t, 1, s.entity(order("o2")).OpenLetters)
	}},
	{"superseding leaves a doubted document behind", func(t *testing.T, s *suite) {
		a := arrival("evt_doubt", order("o1"))
		s.log(a)
		s.sync(order("o1"), state(1))
		s.bury(letter(a, order("o1"), 1))
		s.write(&storage.Write{Ref: order("o1"), Claim: s.claim(order("o1")).Claim, SentAt: at(50), Kept: true, DoubtedAt: at(50)})
		require.Equal(t, 1, s.supersede(order("o1").Key, 2))
		require.Equal(t, storage.ReasonLagging, s.entity(order("o1")).Behind.Reason)
	}},
	{"redelivered work that fails again is the same letter", func(t *testing.T, s *suite) {
		a := arrival("evt_again", order("o1"))
		s.log(a)
		s.claim(order("o1"))
		s.bury(letter(a, order("o1"), 1))
		a.Signal = entry(1, "2-0")
		s.log(a)
		require.Equal(t, "pending: pending", s.statuses(a))
		again := letter(a, order("o1"), 2)
		again.At = at(90)
		s.claim(order("o1"))
		s.bury(again)
		require.Equal(t, "dead: dead", s.statuses(a))
		require.Equal(t, 1, s.entity(order("o1")).OpenLetters)
		require.Zero(t, s.supersede(order("o1").Key, 2), "the dead letter has the claim of its last attempt")
		require.Equal(t, 1, s.supersede(order("o1").Key, 3))
		require.Equal(t, "superseded: superseded", s.statuses(a))
	}},
	{"work superseded stays so when buried again", func(t *testing.T, s *suite) {
		a := arrival("evt_stays", order("o1"))
		s.log(a)
		s.claim(order("o1"))
		s.bury(letter(a, order("o1"), 1))
		s.sync(order("o1"), state(2))
		require.Equal(t, 1, s.supersede(order("o1").Key, 2))
		require.Equal(t, []bool{true}, s.bury(letter(a, order("o1"), 1)))
		require.Zero(t, s.entity(order("o1")).OpenLetters)
		require.Equal(t, "superseded: superseded", s.statuses(a))
	}},
}
