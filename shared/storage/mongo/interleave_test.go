package mongo_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	drivevent "go.mongodb.org/mongo-driver/v2/event"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/mongo"
)

// letterSteps are the steps that change the dead letter of one event's work.
var letterSteps = map[string]func(ctx context.Context, s storage.Store, l storage.Letter) error{
	"redriven": func(ctx context.Context, s storage.Store, l storage.Letter) error {
		_, err := s.Redriven(ctx, []string{l.ID()}, "ops", start)
		return err
	},
	"discarded": func(ctx context.Context, s storage.Store, l storage.Letter) error {
		_, err := s.Discard(ctx, []string{l.ID()}, "ops", "no", start)
		return err
	},
	"superseded": func(ctx context.Context, s storage.Store, l storage.Letter) error {
		_, err := s.Supersede(ctx, l.Ref.Key, 5)
		return err
	},
	"buried": func(ctx context.Context, s storage.Store, l storage.Letter) error { return buryAgain(ctx, s, l, 2) },
	"buried by another": func(ctx context.Context, s storage.Store, l storage.Letter) error {
		return buryAgain(ctx, s, l, 3)
	},
}

func buryAgain(ctx context.Context, s storage.Store, l storage.Letter, claim int64) error {
	l.Claim, l.At = claim, start.Add(time.Duration(claim)*time.Second)
	l.Attempts = []storage.Attempt{{At: l.At, Error: "again"}}
	_, err := s.Bury(ctx, []storage.Letter{l})
	return err
}

// TestStepsWithinSteps makes one step whole between two commands of another, at
// every place there is. Whatever the order, dead work must have an open dead letter,
// or it would never be looked at again; and every count must be true.
func TestStepsWithinSteps(t *testing.T) {
	for _, c := range []struct {
		outer, inner string
		// sentAgain: the provider has sent the event again before, so the dead letter
		// is open and the work too.
		sentAgain bool
	}{
		{"redriven", "buried", false}, {"buried", "redriven", false},
		{"discarded", "buried", false}, {"buried", "discarded", false},
		{"redriven", "discarded", false}, {"discarded", "redriven", false},
		{"redriven", "superseded", false}, {"superseded", "redriven", false},
		{"buried", "buried by another", false},
		{"redriven", "buried", true}, {"buried", "redriven", true},
		{"discarded", "buried", true}, {"buried", "discarded", true},
		{"superseded", "buried", true}, {"buried", "superseded", true},
	} {
		name := fmt.Sprintf("%s within %s", c.inner, c.outer)
		if c.sentAgain {
			name += ", sent again"
		}
		attempts := 0
		if c.inner == "buried by another" {
			attempts = 3
		}
		t.Run(name, func(t *testing.T) {
			stepWithinStep(t, letterSteps[c.outer], letterSteps[c.inner], c.sentAgain, attempts)
		})
	}
}

type letterStep = func(context.Context, storage.Store, storage.Letter) error

// stepWithinStep tries every place; attempts is how many the dead letter must have
// then, 0 for any number.
func stepWithinStep(t *testing.T, outer, inner letterStep, sentAgain bool, attempts int) {
	database := newDatabase(t)
	var at atomic.Int64 // commands until the inner step; none when below
	var within func()
	disturbed := open(t, database, mongo.Options{Monitor: &drivevent.CommandMonitor{
		Started: func(context.Context, *drivevent.CommandStartedEvent) {
			if at.Add(-1) == 0 {
				within() // while the command waits to be sent
			}
		},
	}})
	s := open(t, database, mongo.Options{})
	for place := int64(1); ; place++ {
		r, id := order(fmt.Sprintf("o%d", place)), fmt.Sprintf("evt_%d", place)
		l := buried(t, s, id, r, sentAgain)
		var innerErr error
		done := false
		within = func() { innerErr, done = inner(t.Context(), s, l), true }
		at.Store(place)
		require.NoError(t, outer(t.Context(), disturbed, l))
		at.Store(0)
		require.NoError(t, innerErr)
		if !done {
			attempts = 0
		}
		requireAgreement(t, s, id, r, l, attempts, place)
		if !done {
			require.Greater(t, place, int64(4), "the step was never disturbed")
			return // every place was tried, and the undisturbed step
		}
	}
}

// buried logs an event and buries its work.
func buried(t *testing.T, s storage.Store, id string, r event.Ref, sentAgain bool) storage.Letter {
	t.Helper()
	a := arrival(id, r)
	_, err := s.Log(t.Context(), []storage.Arrival{a})
	require.NoError(t, err)
	l := storage.Letter{
		Source: "lemon", EventID: id, Ref: r, Signal: a.Signal, Class: "permanent", Claim: 1, At: start,
		Attempts: []storage.Attempt{{At: start, Error: "first"}},
	}
	_, err = s.Bury(t.Context(), []storage.Letter{l})
	require.NoError(t, err)
	if sentAgain {
		a.Signal.ID = "9-" + id
		_, err = s.Log(t.Context(), []storage.Arrival{a})
		require.NoError(t, err)
	}
	return l
}

func requireAgreement(t *testing.T, s storage.Store, id string, r event.Ref, l storage.Letter, attempts int, place int64) {
	t.Helper()
	rows, err := s.EventByID(t.Context(), "lemon", id)
	require.NoError(t, err)
	got, err := s.LetterByID(t.Context(), l.ID())
	require.NoError(t, err)
	outcome := rows[0].Entities[0].Status
	what := fmt.Sprintf("at command %d: outcome %s, row %s, dead letter %s", place, outcome, rows[0].Status, got.Status)
	if outcome == storage.Dead {
		require.Equal(t, storage.LetterOpen, got.Status, what)
	}
	require.Equal(t, outcome, rows[0].Status, what)
	doc, err := s.Entity(t.Context(), r.Key)
	require.NoError(t, err)
	open := 0
	if got.Status == storage.LetterOpen {
		open = 1
		require.Empty(t, got.By+got.Reason, what)
	}
	require.Equal(t, open, doc.OpenLetters, what)
	require.Equal(t, open > 0, doc.Behind != nil, what)
	unsettled, _, err := s.Unsettled(t.Context(), "lemon", start.Add(time.Hour), 1000, "")
	require.NoError(t, err)
	isOpen := false
	for _, row := range unsettled {
		isOpen = isOpen || row.ID == id
	}
	require.Equal(t, outcome == storage.Pending, isOpen, what)
	seen := map[string]bool{}
	for _, a := range got.Attempts {
		seen[a.At.String()] = true
	}
	require.Len(t, seen, len(got.Attempts), "an attempt is there twice, %s", what)
	if attempts > 0 {
		require.Len(t, got.Attempts, attempts, "an attempt is lost, %s", what)
	}
}
