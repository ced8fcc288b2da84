package worker_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker"
)

func TestTransientFailureIsParkedAndRetried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	first := b.send("widget.made", "widget", "w1")
	row := b.row(first, storage.Retrying)
	require.Equal(t, 1, row.Attempts)
	require.Contains(t, row.Error, "boom")
	second := b.send("widget.sold", "widget", "w1")
	other := b.send("widget.sold", "widget", "w2")
	b.row(other, storage.Processed) // it delays no other entity

	one, two := b.row(first, storage.Processed), b.row(second, storage.Processed)
	require.LessOrEqual(t, one.Entities[0].CoveredBy.Claim, two.Entities[0].CoveredBy.Claim)
	require.Zero(t, two.Attempts, "the failure was before its time")
	require.Nil(t, b.document("widget", "w1").Behind)
	b.empty()
}

func TestParkedSuccessorsAreSettledByOneFetch(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Retry.Attempts = 100 })
	var sent atomic.Bool
	b.provider.on("widget", "w1", func(context.Context, int) (string, error) {
		if !sent.Load() {
			return "", fate.New(fate.Transient, errBoom)
		}
		return ok, nil
	})
	b.start("w1")
	first := b.send("widget.made", "widget", "w1")
	b.row(first, storage.Retrying)
	for range 1500 { // more than a page
		b.send("widget.sold", "widget", "w1")
	}
	sent.Store(true)
	// On a slow machine the back-off is long by now. A fetch begun before may
	// still fail and park the entity again, so one request is not enough.
	require.True(t, eventually(func() bool {
		_, err := b.streams.RetryEntities(b.ctx, []event.Key{key("widget", "w1")})
		rows, rowErr := b.store.EventByID(b.ctx, "acme", first)
		return err == nil && rowErr == nil && rows[0].Status == storage.Processed
	}))
	b.empty()
	require.Len(t, b.rows(), 1501)
	require.Less(t, b.provider.fetches("widget", "w1"), 30, "a fetch covers whatever is parked")
}

func TestAttemptsRunOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", 3, fate.New(fate.Transient, errBoom))
	b.start("w1")
	id := b.send("widget.made", "widget", "w1")
	row := b.row(id, storage.Dead)
	require.Equal(t, storage.Dead, row.Entities[0].Status)
	b.empty()
	require.Equal(t, 3, b.provider.fetches("widget", "w1"))
	require.Equal(t, 1, b.openLetters("widget", "w1"))

	// A later good sync makes it pointless.
	b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
	b.row(id, storage.Superseded)
	require.Zero(t, b.openLetters("widget", "w1"))
}

func TestRedeliveryTakesDeadWorkUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", 1, fate.New(fate.Permanent, errBoom))
	b.start("w1")
	id := b.sendAs("evt_1", "widget.sold", "widget", "w1", "gadget", "g1")
	row := b.row(id, storage.Dead)
	require.Equal(t, storage.Processed, row.Entities[1].Status, "the other entity is not held up")
	b.empty()
	b.sendAs("evt_1", "widget.sold", "widget", "w1", "gadget", "g1")
	row = b.row(id, storage.Processed)
	require.Equal(t, int64(1), row.Duplicates)
	b.empty()
}

func TestPermanentFailureIsBuriedAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", -1, fate.New(fate.Permanent, errBoom))
	b.start("w1")
	b.row(b.send("widget.made", "widget", "w1"), storage.Dead)
	require.Equal(t, 1, b.provider.fetches("widget", "w1"))
	b.empty()
}

func TestPanicIsBuriedAndTheWorkerLives(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.on("widget", "w1", func(context.Context, int) (string, error) { panic("poison") })
	b.start("w1")
	id := b.send("widget.made", "widget", "w1")
	b.row(id, storage.Dead)
	b.row(b.send("widget.sold", "widget", "w2"), storage.Processed)
	b.empty()
	l := b.letter(id, "widget", "w1")
	require.Equal(t, "panic", l.Class)
	require.Len(t, l.Attempts, 1)
	require.Contains(t, l.Attempts[0].Error, "panic: poison")
	require.Contains(t, l.Attempts[0].Error, "TestPanicIsBuriedAndTheWorkerLives", "the stack says where")
	require.Equal(t, "panic: poison", b.told.of(alert.DeadLetter)[0]["reason"], "without the stack")
}

func TestGoneBecomesATombstone(t *testing.T) {
	t.Parallel()
	gone := fate.New(fate.Gone, errors.New("no such widget"))
	t.Run("known", func(t *testing.T) {
		b := setup(t)
		b.start("w1")
		for i := range 10 { // one 404 among many answers is believed
			b.row(b.send("widget.sold", "widget", fmt.Sprint("other", i)), storage.Processed)
		}
		b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
		b.provider.fails("widget", "w1", -1, gone)
		row := b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
		require.Zero(t, row.Attempts, "to ask again is not charged")
		require.Equal(t, 4, b.provider.fetches("widget", "w1"), "asked again once, and once more after another was found")
		doc := b.document("widget", "w1")
		require.False(t, doc.DeletedAt.IsZero())
		require.JSONEq(t, ok, string(doc.Raw), "the last state stays")
	})
	t.Run("only too early", func(t *testing.T) {
		b := setup(t)
		b.provider.fails("widget", "w1", 1, gone)
		b.start("w1")
		b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
		require.True(t, b.document("widget", "w1").DeletedAt.IsZero())
	})
	t.Run("never seen", func(t *testing.T) {
		b := setup(t)
		b.provider.fails("widget", "w1", -1, gone)
		b.start("w1")
		start := time.Now()
		b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
		require.GreaterOrEqual(t, time.Since(start), 600*time.Millisecond)
		require.False(t, b.document("widget", "w1").DeletedAt.IsZero())
	})
}

// A wrong address answers 404 to everything: nothing becomes a tombstone.
func TestWrongAddressMakesNoTombstones(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	for i := range 5 {
		b.row(b.send("widget.sold", "widget", fmt.Sprint(i)), storage.Processed)
	}
	gone := fate.New(fate.Gone, errors.New("not found"))
	b.provider.setProbe(gone)
	for i := range 5 {
		b.provider.fails("widget", fmt.Sprint(i), -1, gone)
		b.send("widget.made", "widget", fmt.Sprint(i))
	}
	b.paused("misconfigured")
	require.True(t, eventually(func() bool { return len(b.told.of(alert.SourcePaused)) == 1 }))
	for i := range 5 {
		require.True(t, b.document("widget", fmt.Sprint(i)).DeletedAt.IsZero())
	}
}

// The probe path answers, but it is another account that we ask about.
func TestWrongAccountMakesNoTombstones(t *testing.T) {
	t.Parallel()
	const n = 60
	b := setup(t)
	b.start("w1")
	for i := range n {
		b.row(b.send("widget.sold", "widget", fmt.Sprint(i)), storage.Processed)
	}
	gone := fate.New(fate.Gone, errors.New("not found"))
	// All at once: the first ten, a fifth of the window, would be believed.
	require.NoError(t, b.streams.Pause(b.ctx, "acme", 0, "by hand", "test"))
	var asked atomic.Int32
	atOnce := make(chan struct{})
	var ids []string
	for i := range n {
		b.provider.on("widget", fmt.Sprint(i), func(ctx context.Context, _ int) (string, error) {
			if asked.Add(1) == 16 { // as many as the worker asks for at once
				close(atOnce)
			}
			select {
			case <-atOnce:
			case <-ctx.Done():
			}
			return "", gone
		})
		ids = append(ids, b.send("widget.made", "widget", fmt.Sprint(i)))
	}
	require.NoError(t, b.streams.Resume(b.ctx, "acme"))
	b.paused("misconfigured")
	require.True(t, eventually(func() bool { return len(b.told.of(alert.SourcePaused)) == 1 }))
	for i := range n {
		require.True(t, b.document("widget", fmt.Sprint(i)).DeletedAt.IsZero())
		b.provider.on("widget", fmt.Sprint(i), nil)
	}
	// It is resumed by hand, once the key is the right one.
	require.NoError(t, b.streams.Resume(b.ctx, "acme"))
	for _, id := range ids {
		require.Zero(t, b.row(id, storage.Processed).Attempts)
	}
	b.empty()
}

// The second entity of an event dies: the dead letter, the event's status, and what
// a redelivery and a later good sync make of them.
func TestSecondEntityDies(t *testing.T) {
	t.Parallel()
	for name, revive := range map[string]func(b *bundle, id string) storage.EventStatus{
		"redelivered": func(b *bundle, id string) storage.EventStatus {
			b.sendAs(id, "widget.sold", "widget", "w1", "gadget", "g1")
			return storage.Processed
		},
		"superseded": func(b *bundle, _ string) storage.EventStatus {
			b.row(b.send("gadget.moved", "gadget", "g1"), storage.Processed)
			return storage.Superseded
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.provider.fails("gadget", "g1", 1, fate.New(fate.Permanent, errBoom))
			b.start("w1")
			id := b.sendAs("evt_two", "widget.sold", "widget", "w1", "gadget", "g1")
			row := b.row(id, storage.Dead)
			require.Equal(t, storage.Processed, row.Entities[0].Status)
			require.Equal(t, storage.Dead, row.Entities[1].Status)
			b.empty()
			l := b.letter(id, "gadget", "g1")
			require.Equal(t, storage.LetterOpen, l.Status)
			require.Equal(t, row.Payload, l.Payload, "whole")
			require.Equal(t, storage.ReasonDeadLetter, b.document("gadget", "g1").Behind.Reason)

			want := revive(b, id)
			row = b.row(id, want)
			require.Equal(t, storage.Processed, row.Entities[0].Status)
			require.Equal(t, want, row.Entities[1].Status)
			b.empty()
			require.Equal(t, storage.LetterSuperseded, b.letter(id, "gadget", "g1").Status)
			require.Zero(t, b.openLetters("gadget", "g1"))
			require.Nil(t, b.document("gadget", "g1").Behind)
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	refused := fate.New(fate.Refused, errors.New("403"))
	t.Run("one entity", func(t *testing.T) {
		b := setup(t)
		b.provider.fails("widget", "w1", -1, refused)
		b.start("w1")
		id := b.send("widget.sold", "widget", "w1")
		b.row(id, storage.Dead)
		b.row(b.send("widget.sold", "widget", "w2"), storage.Processed)
		b.empty() // the alert follows the row
		require.Equal(t, "refused", b.letter(id, "widget", "w1").Class)
		require.Len(t, b.told.of(alert.DeadLetter), 1)
		require.Empty(t, b.told.of(alert.SourcePaused), "the source goes on")
	})
	t.Run("our credentials", func(t *testing.T) {
		b := setup(t)
		b.provider.setProbe(refused)
		var ids []string
		for i := range 20 {
			b.provider.on("widget", fmt.Sprint(i), func(context.Context, int) (string, error) {
				return ok, b.provider.probing() // refused like everything
			})
			ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint(i)))
		}
		b.start("w1")
		b.start("w2")
		b.paused("credentials")
		for _, id := range ids {
			b.row(id, storage.Pending)
		}
		require.True(t, eventually(func() bool { return len(b.told.of(alert.SourcePaused)) > 0 }))
		b.provider.setProbe(nil) // the key was replaced
		for _, id := range ids {
			require.Zero(t, b.row(id, storage.Processed).Attempts)
		}
		b.empty()
		told := b.told.of(alert.SourcePaused)
		require.Len(t, told, 1, "one alert for the whole fleet: %v", told)
		require.Equal(t, "acme", told[0]["source"])
		require.Equal(t, "credentials refused", told[0]["class"])
		require.Empty(t, b.told.of(alert.DeadLetter))
	})
}

func TestThrottledPausesTheSource(t *testing.T) {
	t.Parallel()
	b := setup(t)
	slow := fate.New(fate.Throttled, errors.New("429"))
	slow.RetryAfter = time.Second
	b.provider.setProbe(slow)
	b.provider.on("widget", "w1", func(context.Context, int) (string, error) { return ok, b.provider.probing() })
	b.start("w1")
	start := time.Now()
	id := b.send("widget.sold", "widget", "w1")
	b.paused("throttled")
	b.provider.setProbe(nil)
	require.Zero(t, b.row(id, storage.Processed).Attempts)
	require.GreaterOrEqual(t, time.Since(start), time.Second, "Retry-After is obeyed")
}

func TestSourceDownChargesNoAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Retry.Attempts = 2 })
	down := fate.New(fate.Transient, errors.New("connection refused"))
	b.provider.setProbe(down)
	for i := range 20 {
		b.provider.on("widget", fmt.Sprint(i), func(context.Context, int) (string, error) {
			return ok, b.provider.probing() // down like the rest of it
		})
	}
	b.start("w1")
	var ids []string
	for i := range 20 {
		ids = append(ids, b.send("widget.sold", "widget", fmt.Sprint(i)))
	}
	b.paused("down")
	b.provider.setProbe(nil)
	charged := 0
	for _, id := range ids {
		charged += b.row(id, storage.Processed).Attempts
	}
	require.LessOrEqual(t, charged, 4, "but for the first few, before it was clear")
}

// paused waits until the source is paused for a reason that holds the text.
func (b *bundle) paused(reason string) {
	b.t.Helper()
	var last string
	require.True(b.t, eventually(func() bool {
		s, err := b.streams.Source(b.ctx, "acme")
		last = s.Reason
		return err == nil && s.Paused && contains(s.Reason, reason)
	}), "source is not paused for %q; last reason: %q", reason, last)
}

// letter is the dead letter of an event's work on an entity.
func (b *bundle) letter(id, kind, entity string) *storage.LetterRecord {
	b.t.Helper()
	l, err := b.store.LetterByID(b.ctx, storage.LetterID(id, key(kind, entity)))
	require.NoError(b.t, err)
	return l
}

func (b *bundle) openLetters(kind, id string) int {
	b.t.Helper()
	return b.document(kind, id).OpenLetters
}

// A sync by hand has neither a row nor a dead letter. What gave it up is noted under its id.
func TestASyncByHandThatIsGivenUpIsNoted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", 1, fate.New(fate.Permanent, errBoom))
	b.start("w1")
	b.signal(event.CauseOperator, "sync_1", event.Ref{Key: key("widget", "w1")})
	var note *storage.Note
	require.True(t, eventually(func() bool {
		var err error
		note, err = b.store.NoteByID(b.ctx, storage.GivenUpID("sync_1"))
		return err == nil
	}))
	require.Equal(t, storage.NoteGivenUp, note.Kind)
	require.Equal(t, "sync_1", note.EventID)
	require.Contains(t, note.Reason, errBoom.Error())
}
