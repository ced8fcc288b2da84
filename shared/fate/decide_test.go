package fate_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

var (
	retry     = fate.Fate{Do: fate.Retry}
	confirm   = fate.Fate{Do: fate.Confirm}
	tombstone = fate.Fate{Do: fate.Tombstone}
	bury      = fate.Fate{Do: fate.Bury}
	redo      = fate.Fate{Do: fate.Redo}
)

func wait(u fate.Until) fate.Fate   { return fate.Fate{Do: fate.Wait, Until: u} }
func park(u fate.Until) fate.Fate   { return fate.Fate{Do: fate.Park, Until: u} }
func ask(q fate.Question) fate.Fate { return fate.Fate{Do: fate.Ask, Question: q} }

// The table of failures, with a row for each line of the package comment.
func TestDecide(t *testing.T) {
	of := func(c fate.Class) error { return fmt.Errorf("fetch: %w", fate.New(c, errors.New("boom"))) }
	status := func(s int, own bool) error { return of(fate.OfStatus(s, own)) }
	const own, foreign = true, false
	for _, row := range []struct {
		what     string
		failure  fate.Failure
		decision fate.Fate
	}{
		{"network error, timeout", fate.Failure{Err: errors.New("connection reset")}, ask(fate.Down)},
		{"408", fate.Failure{Err: status(http.StatusRequestTimeout, foreign)}, ask(fate.Down)},
		{"425", fate.Failure{Err: status(http.StatusTooEarly, foreign)}, ask(fate.Down)},
		{"500", fate.Failure{Err: status(http.StatusInternalServerError, foreign)}, ask(fate.Down)},
		{"503", fate.Failure{Err: status(http.StatusServiceUnavailable, foreign)}, ask(fate.Down)},
		{"a redirect", fate.Failure{Err: status(http.StatusFound, foreign)}, ask(fate.Down)},
		{"a status the table does not name", fate.Failure{Err: status(http.StatusTeapot, own)}, ask(fate.Down)},
		{"404 in another shape", fate.Failure{Err: status(http.StatusNotFound, foreign)}, ask(fate.Down)},
		{"410 in another shape", fate.Failure{Err: status(http.StatusGone, foreign)}, ask(fate.Down)},
		{"an answer that cannot be read", fate.Failure{Err: of(fate.Transient)}, ask(fate.Down)},
		{"any of these, the source is down", fate.Failure{Err: of(fate.Transient), Answer: fate.Yes}, wait(fate.SourceWell)},
		{"any of these, this alone", fate.Failure{Err: of(fate.Transient), Answer: fate.No}, retry},

		{"429", fate.Failure{Err: status(http.StatusTooManyRequests, foreign)}, ask(fate.Overasked)},
		{"429, the source", fate.Failure{Err: of(fate.Throttled), Answer: fate.Yes}, wait(fate.SourceWell)},
		{"429, this alone", fate.Failure{Err: of(fate.Throttled), Answer: fate.No, Throttled: 1}, park(fate.ItsTurn)},
		{"429, this alone a second time", fate.Failure{Err: of(fate.Throttled), Answer: fate.No, Throttled: 2}, park(fate.ItsTurn)},
		{"429, this alone a third time", fate.Failure{Err: of(fate.Throttled), Answer: fate.No, Throttled: 3}, retry},
		{"429 a third time, then the source", fate.Failure{Err: of(fate.Throttled), Answer: fate.Yes, Throttled: 3}, wait(fate.SourceWell)},

		{"401", fate.Failure{Err: status(http.StatusUnauthorized, own)}, ask(fate.Refusing)},
		{"403", fate.Failure{Err: status(http.StatusForbidden, own)}, ask(fate.Refusing)},
		{"401, 403, the probe path is refused too", fate.Failure{Err: of(fate.Refused), Answer: fate.Yes}, wait(fate.SourceWell)},
		{"401, 403, all of its kind", fate.Failure{Err: of(fate.Refused), Answer: fate.OfKind}, park(fate.Permission)},
		{"401, 403, the probe path answers", fate.Failure{Err: of(fate.Refused), Answer: fate.No}, bury},

		{"404 in the provider's shape", fate.Failure{Err: status(http.StatusNotFound, own), Alive: true}, confirm},
		{"410 in the provider's shape", fate.Failure{Err: status(http.StatusGone, own), Alive: true}, confirm},
		{"404 of an entity never seen", fate.Failure{Err: status(http.StatusNotFound, own)}, confirm},
		{"404 again of one that lives", fate.Failure{Err: of(fate.Gone), Confirmed: true, Alive: true}, ask(fate.Believable)},
		{"404 again, not proven, or too many are", fate.Failure{Err: of(fate.Gone), Confirmed: true, Alive: true, Answer: fate.No}, wait(fate.Proof)},
		{"404 again, believed", fate.Failure{Err: of(fate.Gone), Confirmed: true, Alive: true, Answer: fate.Yes}, tombstone},
		{"404 again of one never seen or deleted", fate.Failure{Err: of(fate.Gone), Confirmed: true}, tombstone},

		{"400", fate.Failure{Err: status(http.StatusBadRequest, own)}, bury},
		{"422", fate.Failure{Err: status(http.StatusUnprocessableEntity, own)}, bury},
		{"the store refuses the document", fate.Failure{Err: of(fate.Permanent)}, bury},
		{"a panic", fate.Failure{Err: of(fate.Panic)}, bury},
		{"no such kind in this definition", fate.Failure{Err: of(fate.Undefined)}, park(fate.Definition)},

		{"the store or Redis is away", fate.Failure{Err: of(fate.Unavailable)}, wait(fate.StoreBack)},
		{"the source is paused", fate.Failure{Err: fmt.Errorf("fetch: %w", fate.ErrPaused)}, wait(fate.SourceWell)},
		{"a newer fetch has begun", fate.Failure{Err: fmt.Errorf("write: %w", fate.ErrOvertaken)}, wait(fate.FetchOver)},

		{"parents disagree, gone here", fate.Failure{Err: of(fate.Gone), Disagree: true}, retry},
		{"parents disagree, refused here", fate.Failure{Err: of(fate.Refused), Disagree: true}, retry},
		{"parents disagree, not understood here", fate.Failure{Err: of(fate.Permanent), Disagree: true}, retry},
		{"parents disagree, one failed", fate.Failure{Err: of(fate.Transient), Disagree: true}, ask(fate.Down)},
		{"parents disagree, one is answered 429", fate.Failure{Err: of(fate.Throttled), Disagree: true}, ask(fate.Overasked)},
		{"parents disagree, a panic", fate.Failure{Err: of(fate.Panic), Disagree: true}, bury},

		{"a fate could not be carried out", fate.Failure{Err: of(fate.Permanent), Unfinished: true}, redo},
		{"a panic while it was", fate.Failure{Err: of(fate.Panic), Unfinished: true}, bury},
	} {
		t.Run(row.what, func(t *testing.T) {
			require.Equal(t, row.decision, fate.Decide(row.failure))
		})
	}
}

// Whatever the failure, one answer is enough: Decide asks at most one question.
func TestDecideAsksOnce(t *testing.T) {
	for class := fate.Transient; class <= fate.Undefined; class++ {
		for i := range 32 {
			f := fate.Failure{
				Err: fate.New(class, errors.New("boom")), Disagree: i&1 != 0, Confirmed: i&2 != 0, Alive: i&4 != 0, Unfinished: i&8 != 0,
				Throttled: 3 * (i >> 4),
			}
			for _, a := range []fate.Answer{fate.AnswerOf(false), fate.AnswerOf(true)} {
				f.Answer = a
				require.NotEqual(t, fate.Ask, fate.Decide(f).Do, "%s %+v", class, f)
			}
		}
	}
}

func TestIs(t *testing.T) {
	require.True(t, fate.Is(fmt.Errorf("write: %w", fate.New(fate.Permanent, errors.New("boom"))), fate.Permanent))
	require.True(t, fate.Is(errors.New("boom"), fate.Transient))
	require.False(t, fate.Is(errors.New("boom"), fate.Gone))
	require.False(t, fate.Is(nil, fate.Transient), "no error is of no class")
}

func TestWhatClassesSay(t *testing.T) {
	for class, says := range map[fate.Class]struct{ repeats, answered bool }{
		fate.Transient:   {},
		fate.Throttled:   {},
		fate.Unavailable: {},
		fate.Undefined:   {},
		fate.Panic:       {},
		fate.Refused:     {repeats: true},
		fate.Gone:        {repeats: true, answered: true},
		fate.Permanent:   {repeats: true, answered: true},
	} {
		require.Equal(t, says.repeats, class.Repeats(), class)
		require.Equal(t, says.answered, class.Answered(), class)
	}
}
