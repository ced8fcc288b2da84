package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

func openStore(t *testing.T, o Options) *Store {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// hold keeps the writer busy with a call until the returned function is called.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	begun, end, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.writer.change(t.Context(), func(*tx) error {
			close(begun)
			<-end
			return nil
		})
	}()
	<-begun
	return func() {
		close(end)
		require.NoError(t, <-done)
	}
}

// waitFor waits until n calls are queued.
func waitFor(t *testing.T, s *Store, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return len(s.writer.calls) == n }, 10*time.Second, time.Millisecond)
}

const addNote = `INSERT INTO audit (id, at, source, kind, event_id, reason, count) VALUES (?1, 0, '', '', '', '', 1)`

func countNotes(t *testing.T, s *Store) (n int) {
	t.Helper()
	require.NoError(t, s.reads.QueryRow("SELECT count(*) FROM audit").Scan(&n))
	return n
}

// A call that fails in a shared transaction fails alone.
func TestOneFailureSpoilsNoOther(t *testing.T) {
	s := openStore(t, Options{})
	release := hold(t, s)
	errBad := errors.New("bad")
	results := make(chan error, 4)
	for i, do := range []func(*tx) error{
		func(t *tx) error { _, err := t.exec(addNote, "a"); return err },
		func(t *tx) error { _, err := t.exec(addNote, "b"); return errors.Join(err, errBad) },
		func(t *tx) error { _, err := t.exec("INSERT INTO audit (id) VALUES (NULL)"); return err },
		func(t *tx) error { _, err := t.exec(addNote, "c"); return err },
	} {
		go func() { results <- s.writer.change(t.Context(), do) }()
		waitFor(t, s, i+1)
	}
	release()
	failed := 0
	for range 4 {
		if <-results != nil {
			failed++
		}
	}
	require.Equal(t, 2, failed)
	require.Equal(t, 2, countNotes(t, s))
}

// A caller whose context ends while it waits leaves, and its change is not
// made.
func TestACallerMayLeaveTheQueue(t *testing.T) {
	s := openStore(t, Options{})
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		left <- s.writer.change(ctx, func(t *tx) error { _, err := t.exec(addNote, "a"); return err })
	}()
	waitFor(t, s, 1)
	cancel()
	require.ErrorIs(t, <-left, context.Canceled)
	release()
	require.NoError(t, s.Ping(t.Context()))
	require.Zero(t, countNotes(t, s))
}

// Close finishes what is queued.
func TestCloseFinishesWhatWaits(t *testing.T) {
	s := openStore(t, Options{})
	release := hold(t, s)
	waiting := make(chan error, 1)
	go func() { waiting <- s.Ping(t.Context()) }()
	waitFor(t, s, 1)
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	release()
	require.NoError(t, <-waiting)
	require.NoError(t, <-closed)
}

// Calls that wait while one is under way share one transaction.
func TestWaitingCallsShareATransaction(t *testing.T) {
	s := openStore(t, Options{})
	var changes int64
	total := func(t *tx) int64 {
		var n int64
		_ = t.row("SELECT total_changes()").Scan(&n)
		return n
	}
	release := hold(t, s)
	results := make(chan error, 2)
	go func() {
		results <- s.writer.change(t.Context(), func(t *tx) error { _, err := t.exec(addNote, "a"); changes = total(t); return err })
	}()
	waitFor(t, s, 1)
	go func() {
		results <- s.writer.change(t.Context(), func(t *tx) error {
			if total(t) != changes {
				return errors.New("something came between")
			}
			// Inside one transaction a second one cannot begin.
			if _, err := t.exec("BEGIN"); err == nil {
				return errors.New("there was no transaction")
			}
			return nil
		})
	}()
	waitFor(t, s, 2)
	release()
	require.NoError(t, <-results)
	require.NoError(t, <-results)
}

func TestRetention(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	s := openStore(t, Options{
		Now:       func() time.Time { return now.Add(100 * time.Hour) },
		Retention: storage.Retention{Events: time.Hour, Commands: time.Hour, Audit: time.Hour, Discrepancies: time.Hour},
	})
	order := event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: "o"}}
	arrive := func(id string, at time.Time) storage.Arrival {
		return storage.Arrival{Event: &event.Event{Source: "lemon", ID: id, ReceivedAt: at, Entities: []event.Ref{order}}}
	}
	old, open, dead, young := arrive("old", now), arrive("open", now), arrive("dead", now), arrive("young", now.Add(99*time.Hour+time.Minute))
	_, err := s.Log(t.Context(), []storage.Arrival{old, open, dead, young})
	require.NoError(t, err)
	for _, a := range []storage.Arrival{old, young} {
		require.NoError(t, s.Settle(t.Context(), []storage.Settlement{{Source: "lemon", EventID: a.Event.ID, Entity: order.Key, At: now}}))
	}
	_, err = s.Bury(t.Context(), []storage.Letter{{Source: "lemon", EventID: "dead", Ref: order, At: now}})
	require.NoError(t, err)
	for i, end := range []func(...string) error{
		func(...string) error { return nil },
		func(ids ...string) error { _, err := s.Discard(t.Context(), ids, "ops", "no", now); return err },
	} {
		l := storage.Letter{Source: "lemon", EventID: fmt.Sprintf("letter %d", i), Ref: order, At: now}
		_, err = s.Bury(t.Context(), []storage.Letter{l})
		require.NoError(t, err)
		require.NoError(t, end(l.ID()))
	}
	require.NoError(t, s.Note(t.Context(), []storage.Note{{ID: "old", At: now}, {ID: "young", At: young.Event.ReceivedAt}}))
	require.NoError(t, s.Record(t.Context(), []storage.Discrepancy{
		{ID: "new", FoundAt: now}, {ID: "open", Status: "confirmed", FoundAt: now}, {ID: "old", Status: "repaired", FoundAt: now},
	}))

	for _, c := range []storage.Command{
		{Key: "old", State: storage.CommandDone, EndedAt: now},
		{Key: "dead", State: storage.CommandDead, EndedAt: now},
		{Key: "owed", State: storage.CommandDone, EndedAt: now, Owed: true},
		{Key: "young", State: storage.CommandCancelled, EndedAt: young.Event.ReceivedAt},
		{Key: "asked", State: storage.CommandAsked},
		{Key: "queued", State: storage.CommandQueued},
	} {
		asked := c
		asked.ID, asked.Source, asked.Kind, asked.Lane, asked.At = storage.CommandID("lemon", c.Key), "lemon", "order", order.Key, now
		stored, err := s.Commands().Ask(t.Context(), &asked)
		require.NoError(t, err)
		stored.State, stored.EndedAt, stored.Owed = c.State, c.EndedAt, c.Owed
		moved, err := s.Commands().Move(t.Context(), stored)
		require.NoError(t, err)
		require.True(t, moved)
	}

	require.NoError(t, s.sweep.sweep(t.Context()))
	commands, err := s.Commands().List(t.Context(), storage.CommandFilter{})
	require.NoError(t, err)
	var keys []string
	for _, c := range commands.Items {
		keys = append(keys, c.Key)
	}
	require.ElementsMatch(t, []string{"owed", "young", "asked", "queued"}, keys)
	ref, err := s.Commands().Ref(t.Context(), order.Key)
	require.NoError(t, err)
	require.EqualValues(t, 6, ref.N, "numbers of a lane go on")
	page, err := s.Events(t.Context(), storage.EventFilter{})
	require.NoError(t, err)
	var left []string
	for _, r := range page.Items {
		left = append(left, r.ID)
	}
	require.Equal(t, []string{"young", "open", "dead"}, left)
	require.Equal(t, 1, countNotes(t, s))
	var outcomes, discrepancies int
	require.NoError(t, s.reads.QueryRow("SELECT count(*) FROM outcomes").Scan(&outcomes))
	require.NoError(t, s.reads.QueryRow("SELECT count(*) FROM discrepancies").Scan(&discrepancies))
	require.Equal(t, 3, outcomes)
	letters, err := s.Letters(t.Context(), storage.LetterFilter{})
	require.NoError(t, err)
	require.Len(t, letters.Items, 2, "open ones stay")
	require.Equal(t, 2, discrepancies)
}
