package reconciler

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// filling is a backfill that waits for workers, with one signal of its own.
func (c *scene) filling() *sweep {
	c.t.Helper()
	task := sweepTask("backfill_1", modeBackfill, "shop", "test", storage.SweepSpec{}, c.clock.now())
	s, err := newSweep(c.finder, task, func(context.Context) error { return nil })
	require.NoError(c.t, err)
	c.queue(event.CauseSweep, "backfill_1", time.Time{})
	return s
}

// queue appends a background signal.
func (c *scene) queue(cause event.Cause, id string, notBefore time.Time) {
	c.t.Helper()
	_, err := c.streams.Append(c.ctx, stream.Draft{Signal: event.Signal{
		Ref: event.Ref{Key: c.key("customer", "c0")}, Cause: cause, CauseID: id, Class: event.Backfill, NotBefore: notBefore,
	}})
	require.NoError(c.t, err)
	c.eventually("the signal is older than the look at it", func() bool {
		_, age, err := c.finder.background(c.ctx)
		return err == nil && age > 5*time.Millisecond
	})
}

func (s *sweep) over(t *testing.T) bool {
	t.Helper()
	over, err := s.filled(t.Context())
	require.NoError(t, err)
	return over
}

// Redis' clock was set back by two hours while a backfill waited: its waits begin
// again at once, and not in two hours.
func TestABackfillOutlastsNoClockSetBack(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	s := c.filling()
	require.False(t, s.over(t))
	for _, at := range []*time.Time{&s.state.Filling, &s.state.BacklogSince, &s.state.UnfetchedSince} {
		*at = at.Add(2 * time.Hour)
	}
	s.state.UnfetchedSince = s.state.Filling
	require.False(t, s.over(t))
	now, err := c.streams.Now(c.ctx)
	require.NoError(t, err)
	for _, at := range []time.Time{s.state.Filling, s.state.BacklogSince, s.state.UnfetchedSince} {
		require.False(t, at.After(now))
	}
	// Younger work of others, whatever it is, is not waited for.
	c.entries()
	c.queue(event.CauseDiscrepancy, "d1", time.Time{})
	require.True(t, s.over(t))
}

// A refresh that is held back for a minute is none of a backfill's own signals.
func TestABackfillWaitsForItsOwnSignals(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.queue(event.CauseDerived, "evt_1", c.clock.now().Add(time.Minute))
	s := c.filling()
	require.False(t, s.over(t))
	c.entries()
	c.queue(event.CauseDerived, "evt_1", c.clock.now().Add(time.Minute))
	now, err := c.streams.Now(c.ctx)
	require.NoError(t, err)
	s.state.Filling = now // the refresh is older than the backfill's own signals were
	require.True(t, s.over(t))
}

// What a stray webhook alone named neither fails a backfill nor holds it up; what
// a sweep asked for and could not have is named with the reason.
func TestABackfillNamesWhatItDidNotGet(t *testing.T) {
	t.Parallel()
	claim := func(kind, id string) func(*scene) {
		return func(c *scene) {
			_, err := c.store.Claim(c.ctx, event.Ref{Key: c.key(kind, id), Parents: under("c0")})
			require.NoError(c.t, err)
		}
	}
	failed := func(c *scene) { // its event is retried
		claim("note", "n1")(c)
		e := &event.Event{Source: "shop", ID: "evt_1", Type: "note.made", CreatedAt: c.clock.now(), ReceivedAt: c.clock.now(),
			Entities: []event.Ref{{Key: c.key("note", "n1"), Parents: under("c0")}}, Payload: []byte(`{}`)}
		_, err := c.store.Log(c.ctx, []storage.Arrival{{Event: e, Signal: storage.SignalID{ID: "1-1"}}})
		require.NoError(c.t, err)
		require.NoError(c.t, c.store.Fail(c.ctx, []storage.Failure{{Source: "shop", EventID: "evt_1", Entity: c.key("note", "n1"),
			Signal: storage.SignalID{ID: "1-1"}, At: c.clock.now(), Class: "transient", Error: "no", Claim: 1}}))
	}
	cases := map[string]struct {
		before func(*scene)
		status int // of the answer for n1; 0: as it is
		kinds  []string
		reason string
	}{
		"nothing":                                          {func(*scene) {}, 0, nil, ""},
		"one the provider does not have":                   {claim("note", "n1"), 0, nil, ""},
		"one it refuses, which an event named":             {failed, 422, nil, ""},
		"one it refuses, which a sync by hand named":       {claim("note", "n1"), 422, nil, ""},
		"one it cannot answer, which a sync by hand named": {claim("note", "n1"), 500, nil, ""},
		"one it refuses, of a kind not asked for":          {claim("note", "n1"), 422, []string{"customer", "order"}, ""},
		"one it has, which workers did not get":            {claim("note", "n1"), 200, nil, "workers have not fetched it yet"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(2, 1)
			tc.before(c)
			if tc.status == 200 {
				c.shop.put("/customers/c0/notes/n1", `{"id":"n1"}`)
			} else if tc.status != 0 {
				c.shop.refuse(tc.status, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/n1") })
			}
			if tc.reason == "" {
				c.finder.pace.patience = time.Minute // nothing is waited for
			}
			// What is claimed and not written yet is still in the streams, as it is with a worker.
			defer c.each(func() { c.entriesAfter(func(e event.Entry) { c.sync(e.Signal.Ref) }) })()
			task := c.sweepBy(modeBackfill, storage.SweepSpec{Kinds: tc.kinds}, c.replica("a"))
			missed := outcome(t, task).NotFetched
			if tc.reason == "" {
				require.Equal(t, storage.TaskDone, task.Status, task.Error)
				require.Empty(t, missed)
				return
			}
			require.Equal(t, storage.TaskFailed, task.Status)
			require.Contains(t, task.Error, "1 entities were asked for and could not be fetched so far: note/n1 (")
			require.EqualValues(t, 1, task.Counts["not_fetched"])
			require.Len(t, missed, 1)
			require.Contains(t, missed[0].Reason, tc.reason)
			require.Equal(t, storage.NotFetched{Kind: "note", ID: "n1", Parents: under("c0"), Reason: missed[0].Reason}, missed[0])
		})
	}
}

// An entity that a list shows and the provider refuses is named by every backfill, also if
// a sync by hand has asked for it before.
func TestABackfillNamesWhatAListShowsAndItCannotGet(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]bool{"asked for before": true, "not asked for before": false} {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(2, 1)
			c.shop.refuse(422, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/orders/o0_0") })
			if before {
				_, err := c.store.Claim(c.ctx, event.Ref{Key: c.key("order", "o0_0"), Parents: under("c0")})
				require.NoError(t, err)
			}
			defer c.each(func() {
				c.entriesAfter(func(e event.Entry) {
					if e.Signal.Ref.Key.ID != "o0_0" {
						c.sync(e.Signal.Ref)
						return
					}
					_, err := c.store.Claim(c.ctx, e.Signal.Ref)
					require.NoError(t, err)
				})
			})()
			for range 2 {
				task := c.sweepBy(modeBackfill, storage.SweepSpec{}, c.replica("a"))
				require.Equal(t, storage.TaskFailed, task.Status, task.Error)
				missed := outcome(t, task).NotFetched
				require.Len(t, missed, 1)
				require.Equal(t, "o0_0", missed[0].ID)
				require.Contains(t, missed[0].Reason, "422")
			}
		})
	}
}

// A backfill with nothing to do is over in well under a second.
func TestABackfillWithNothingToDoEndsSoon(t *testing.T) {
	t.Parallel()
	c := newScene(t)
	c.shop.stock(2, 2)
	c.fill()
	r := c.reconciler("a")
	r.Poll, r.pace = time.Second, usualPace()
	best := time.Hour
	for range 5 { // what else the machine does is no fault of the backfill's
		begun := time.Now()
		require.NoError(t, r.Backfill(c.ctx, BackfillOptions{Source: "shop"}))
		if best = min(best, time.Since(begun)); best < 2*time.Second {
			break
		}
	}
	require.Less(t, best, 2*time.Second)
}

// While nothing moves, what is shown says what is waited for.
func TestABackfillSaysWhatItWaitsFor(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		before func(*scene)
		says   string
		// then is done once it says so, and what it says after that.
		then     func(*scene)
		thenSays string
	}{
		"a pause": {before: func(c *scene) {
			require.NoError(c.t, c.streams.Pause(c.ctx, "shop", 0, "maintenance", "ops"))
		}, says: "source shop, which is paused by ops until it is resumed: maintenance"},
		"workers": {before: func(*scene) {}, says: "workers: none are running, and 4 signals are queued"},
		"busy workers": {before: func(c *scene) {
			_, err := c.streams.Member("w1").Beat(c.ctx)
			require.NoError(c.t, err)
		}, says: "workers: 4 signals are queued for the background"},
		"entities": {before: func(c *scene) {
			for _, id := range []string{"n1", "n2"} {
				c.shop.put("/customers/c0/notes/"+id, `{"id":"`+id+`"}`)
				_, err := c.store.Claim(c.ctx, event.Ref{Key: c.key("note", id), Parents: under("c0")})
				require.NoError(c.t, err)
			}
			c.finder.pace.patience = time.Minute
			c.t.Cleanup(c.workUntil())
		}, says: "2 entities that are not fetched yet, such as note/n1: the provider has it", then: func(c *scene) {
			c.sync(event.Ref{Key: c.key("note", "n1"), Parents: under("c0")})
		}, thenSays: "1 entities that are not fetched yet, such as note/n2: the provider has it"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newScene(t)
			c.shop.stock(1, 2)
			tc.before(c)
			ctx, stop := context.WithCancel(c.ctx)
			defer stop()
			out := lines(make(chan string, 1))
			done := make(chan error, 1)
			go func() {
				done <- c.reconciler("a").Backfill(ctx, BackfillOptions{Source: "shop", Out: out, Every: 20 * time.Millisecond})
			}()
			for found := false; !found; {
				select {
				case line := <-out:
					var p progress
					require.NoError(t, json.NewDecoder(bytes.NewReader([]byte(line))).Decode(&p))
					if found = strings.HasPrefix(p.WaitsFor, tc.says); found {
						require.Contains(t, p.line(), "waits for "+tc.says)
					}
					if found && tc.then != nil {
						tc.then(c)
						found, tc.says, tc.then = false, tc.thenSays, nil
					}
				case err := <-done:
					require.FailNow(t, "it has ended without saying what it waits for", "%v", err)
				}
			}
			stop()
			require.ErrorIs(t, <-done, ErrCutOff)
		})
	}
}

// lines is written to while it is read from, and forgets what is not read.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	select {
	case l <- string(p):
	default:
	}
	return len(p), nil
}
