package storetest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

func (s *suite) letter(l storage.Letter) *storage.LetterRecord {
	s.t.Helper()
	got, err := s.LetterByID(s.ctx, l.ID())
	require.NoError(s.t, err)
	return got
}

func (s *suite) redriven(letters ...storage.Letter) int {
	s.t.Helper()
	n, err := s.Redriven(s.ctx, idsOf(letters), "ops", at(60))
	require.NoError(s.t, err)
	return n
}

func (s *suite) discard(letters ...storage.Letter) int {
	s.t.Helper()
	n, err := s.Discard(s.ctx, idsOf(letters), "ops", "a test", at(60))
	require.NoError(s.t, err)
	return n
}

func idsOf(letters []storage.Letter) (ids []string) {
	for i := range letters {
		ids = append(ids, letters[i].ID())
	}
	return ids
}

// failedAgain is the burial of a dead letter's work that has failed once more.
func failedAgain(l storage.Letter, claim int64, seconds int) storage.Letter {
	l.Claim, l.At, l.Class = claim, at(seconds), "transient"
	l.Attempts = []storage.Attempt{{At: at(seconds - 1), Error: fmt.Sprintf("GET: 500 at %d", seconds)}}
	l.Signal = entry(1, fmt.Sprintf("%d-0", seconds))
	return l
}

// redriveCases are the interleavings of operators' acts with the work itself.
var redriveCases = []testCase{
	{"work that fails again before its dead letter was marked is on record, and found by recovery", func(t *testing.T, s *suite) {
		a := arrival("evt_quick", order("o1"))
		s.log(a)
		l := letter(a, order("o1"), 1)
		s.bury(l)
		again := failedAgain(l, 2, 70)
		s.bury(again)
		got := s.letter(l)
		require.Equal(t, append(slices.Clone(l.Attempts), again.Attempts...), got.Attempts)
		require.EqualValues(t, 2, got.Claim)
		require.Equal(t, "transient", got.Class)
		require.Equal(t, again.At, got.At)
		require.Equal(t, again.Signal, got.Signal)
		require.Equal(t, "dead: dead", s.statuses(a))
		require.Equal(t, 1, s.entity(order("o1")).OpenLetters)

		require.Equal(t, 1, s.redriven(l))
		require.Equal(t, "pending: pending", s.statuses(a))
		rows, _, err := s.Unsettled(s.ctx, "lemon", at(99), 10, "")
		require.NoError(t, err)
		require.Len(t, rows, 1, "what Redis has no entry for is open, so that recovery sees it")
	}},
	{"a late burial adds its attempts and takes nothing back", func(t *testing.T, s *suite) {
		a := arrival("evt_told_late", order("o1"))
		s.log(a)
		l := failedAgain(letter(a, order("o1"), 0), 5, 80)
		s.bury(l)
		late := failedAgain(l, 3, 40)
		late.Class = "permanent"
		s.bury(late)
		got := s.letter(l)
		require.Equal(t, []storage.Attempt{late.Attempts[0], l.Attempts[0]}, got.Attempts)
		require.Equal(t, l.At, got.At)
		require.Equal(t, l.Signal, got.Signal)
		require.Equal(t, "transient", got.Class)
		require.Zero(t, s.supersede(order("o1").Key, 4), "a sync before the last attempt supersedes nothing")
	}},
	{"the newest hundred attempts are kept", func(t *testing.T, s *suite) {
		a := arrival("evt_stubborn", order("o1"))
		s.log(a)
		l := letter(a, order("o1"), 1)
		l.Attempts = nil
		for i := range 60 {
			l.Attempts = append(l.Attempts, storage.Attempt{At: at(i), Error: "no"})
		}
		s.bury(l)
		s.redriven(l)
		l.At = at(200)
		for i := range l.Attempts {
			l.Attempts[i].At = at(100 + i)
		}
		s.bury(l)
		got := s.letter(l).Attempts
		require.Len(t, got, 100)
		require.Equal(t, at(20), got[0].At)
		require.Equal(t, at(159), got[99].At)
	}},
	{"what was discarded stays so when it is buried again", func(t *testing.T, s *suite) {
		a := arrival("evt_given_up", order("o1"))
		s.log(a)
		l := letter(a, order("o1"), 1)
		s.bury(l)
		require.Equal(t, 1, s.discard(l))
		require.Equal(t, []bool{false}, s.bury(failedAgain(l, 2, 90)))
		require.Equal(t, storage.LetterDiscarded, s.letter(l).Status)
		require.Len(t, s.letter(l).Attempts, 1)
		require.Equal(t, "discarded: discarded", s.statuses(a))
		require.Zero(t, s.redriven(l), "and cannot be redriven")
		require.Equal(t, "discarded: discarded", s.statuses(a))
	}},
	{"only what is dead changes, and the row follows", func(t *testing.T, s *suite) {
		a := arrival("evt_parts", order("o1"), order("o2"), order("o3"), order("o4"))
		s.log(a)
		one, two := letter(a, order("o1"), 1), letter(a, order("o2"), 1)
		s.bury(one, two)
		s.settle(settlement(a, order("o3"), 1))
		s.fail(failure(a, order("o4"), at(20)))
		require.Equal(t, 1, s.redriven(one))
		require.Equal(t, "retrying: pending dead processed pending", s.statuses(a), "what retries goes on retrying")
		s.settle(settlement(a, order("o4"), 1))
		require.Equal(t, 1, s.discard(two))
		require.Equal(t, "retrying: pending discarded processed processed", s.statuses(a))
		s.settle(settlement(a, order("o1"), 1))
		require.Equal(t, "discarded: processed discarded processed processed", s.statuses(a))
		require.False(t, s.row(a).ProcessedAt.IsZero())
	}},
	{"a dead letter whose work the provider has sent again leaves it open", func(t *testing.T, s *suite) {
		for i, end := range []func(...storage.Letter) int{s.redriven, s.discard} {
			a := arrival(fmt.Sprintf("evt_sent_again_%d", i), order("o1"))
			s.log(a)
			l := letter(a, order("o1"), 1)
			s.bury(l)
			a.Signal = entry(1, "5-0")
			s.log(a)
			require.Equal(t, 1, end(l))
			require.Equal(t, "pending: pending", s.statuses(a))
			s.bury(failedAgain(l, 2, 90))
			require.Equal(t, storage.LetterOpen, s.letter(l).Status)
			require.Empty(t, s.letter(l).By)
			require.Empty(t, s.letter(l).Reason)
			require.Equal(t, "dead: dead", s.statuses(a))
		}
	}},
	{"behind ends with the last letter, unless something else causes it", func(t *testing.T, s *suite) {
		a, b, c := arrival("evt_a", order("o1")), arrival("evt_b", order("o1")), arrival("evt_c", order("o1"))
		s.log(a, b, c)
		one, two := letter(a, order("o1"), 1), letter(b, order("o1"), 1)
		s.bury(one, two)
		require.Equal(t, 1, s.discard(one))
		require.Equal(t, &storage.Behind{Since: at(8), Reason: storage.ReasonDeadLetter}, s.entity(order("o1")).Behind)
		s.fail(failure(c, order("o1"), at(30)))
		require.Equal(t, 1, s.redriven(two))
		require.Equal(t, &storage.Behind{Since: at(8), Reason: storage.ReasonRetrying}, s.entity(order("o1")).Behind, "the third retries")
		s.sync(order("o1"), state(1))
		require.Nil(t, s.entity(order("o1")).Behind)

		s.bury(letter(c, order("o1"), 9))
		s.write(&storage.Write{Ref: order("o1"), Claim: s.claim(order("o1")).Claim, SentAt: at(70), Kept: true, DoubtedAt: at(70)})
		require.Equal(t, 1, s.discard(letter(c, order("o1"), 9)))
		require.Equal(t, storage.ReasonLagging, s.entity(order("o1")).Behind.Reason)
		require.Zero(t, s.entity(order("o1")).OpenLetters)
	}},
	{"many at once, of many entities, some of them unknown", func(t *testing.T, s *suite) {
		var arrivals []storage.Arrival
		var letters []storage.Letter
		for i := range 45 {
			a := arrival(fmt.Sprintf("evt_many_%02d", i), order(fmt.Sprintf("o%d", i%3)))
			arrivals, letters = append(arrivals, a), append(letters, letter(a, a.Event.Entities[0], 1))
		}
		s.log(arrivals...)
		s.bury(letters...)
		require.Equal(t, 15, s.entity(order("o1")).OpenLetters)
		require.Equal(t, 20, s.discard(letters[:20]...))
		require.Equal(t, 25, s.redriven(append(letters, letter(arrival("evt_unknown"), order("o1"), 1))...))
		require.Equal(t, "discarded: discarded", s.statuses(arrivals[19]))
		require.Equal(t, "pending: pending", s.statuses(arrivals[20]))
		for i := range 3 {
			require.Zero(t, s.entity(order(fmt.Sprintf("o%d", i))).OpenLetters)
			require.Nil(t, s.entity(order(fmt.Sprintf("o%d", i))).Behind)
		}
		open, err := s.OpenLetters(s.ctx)
		require.NoError(t, err)
		require.Empty(t, open)
	}},
	{"a dead letter of an event the log does not have can be given up", func(t *testing.T, s *suite) {
		l := letter(arrival("evt_lost"), order("o1"), 0)
		s.bury(l)
		require.Nil(t, s.letter(l).Payload)
		require.Equal(t, 1, s.discard(l))
		require.Nil(t, s.entity(order("o1")).Behind)
		s.bury(failedAgain(l, 1, 90))
		require.Equal(t, storage.LetterOpen, s.letter(l).Status, "nothing says that this was settled")
	}},
	{"whatever happens at once, dead work has an open letter", testLettersAtOnce},
}

// testLettersAtOnce lets everything that touches a dead letter happen at once, many
// times, and looks at what is left: a closed dead letter over dead work would never
// be looked at again, and counts must be true.
func testLettersAtOnce(t *testing.T, s *suite) {
	const rounds = 12
	for round := range rounds {
		r := order(fmt.Sprintf("o%d", round))
		a := arrival(fmt.Sprintf("evt_at_once_%d", round), r)
		s.log(a)
		l := letter(a, r, s.claim(r).Claim)
		s.bury(l)
		again := a
		again.Signal = entry(1, "8-0")
		steps := []func() error{
			func() error { _, err := s.Redriven(s.ctx, []string{l.ID()}, "ops", at(60)); return err },
			func() error { _, err := s.Bury(s.ctx, []storage.Letter{failedAgain(l, 2, 70)}); return err },
			func() error { _, err := s.Bury(s.ctx, []storage.Letter{failedAgain(l, 3, 71)}); return err },
		}
		switch round % 3 {
		case 0:
			steps = append(steps, func() error { _, err := s.Log(s.ctx, []storage.Arrival{again}); return err })
		case 1:
			steps = append(steps, func() error { _, err := s.Discard(s.ctx, []string{l.ID()}, "ops", "no", at(61)); return err })
		case 2:
			steps = append(steps, func() error { _, err := s.Supersede(s.ctx, r.Key, 3); return err })
		}
		var g errgroup.Group
		for _, step := range steps {
			g.Go(step)
		}
		require.NoError(t, g.Wait())
		requireLettersAgree(t, s, a, r, l)
	}
}

func requireLettersAgree(t *testing.T, s *suite, a storage.Arrival, r event.Ref, l storage.Letter) {
	t.Helper()
	outcome, got := s.row(a).Entities[0].Status, s.letter(l)
	what := fmt.Sprintf("%s: outcome %s, dead letter %s", a.Event.ID, outcome, got.Status)
	if outcome == storage.Dead {
		require.Equal(t, storage.LetterOpen, got.Status, what)
	}
	require.Equal(t, outcome, s.row(a).Status, what)
	open := 0
	if got.Status == storage.LetterOpen {
		open = 1
	}
	require.Equal(t, open, s.entity(r).OpenLetters, what)
	rows, _, err := s.Unsettled(s.ctx, "lemon", at(99), 100, "")
	require.NoError(t, err)
	isOpen := slices.ContainsFunc(rows, func(x *storage.EventRow) bool { return x.ID == a.Event.ID })
	require.Equal(t, outcome == storage.Pending, isOpen, what)
}
