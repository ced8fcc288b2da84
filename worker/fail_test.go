package worker_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/mirror"
	"github.com/tarn-sync/tarn/worker"
)

func TestTransientFailureIsParkedAndRetried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	first := b.send("widget.made", "widget", "w1")
	row := b.row(first, mirror.Retrying)
	require.Equal(t, 1, row.Attempts)
	require.Contains(t, row.Error, "boom")
	second := b.send("widget.sold", "widget", "w1")
	other := b.send("widget.sold", "widget", "w2")
	b.row(other, mirror.Processed) // delays nobody else

	one, two := b.row(first, mirror.Processed), b.row(second, mirror.Processed)
	require.LessOrEqual(t, one.Entities[0].CoveredBy.Claim, two.Entities[0].CoveredBy.Claim)
	require.Zero(t, two.Attempts, "the failure was before its time")
	require.Nil(t, b.document("widget", "w1").Behind)
	b.empty()
}

func TestParkedSuccessorsAreSettledByOneFetch(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Retry.First = time.Second })
	b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
	b.start("w1")
	b.row(b.send("widget.made", "widget", "w1"), mirror.Retrying)
	for range 1500 { // more than a page
		b.send("widget.sold", "widget", "w1")
	}
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
	row := b.row(id, mirror.Dead)
	require.Equal(t, mirror.Dead, row.Entities[0].Status)
	b.empty()
	require.Equal(t, 3, b.provider.fetches("widget", "w1"))
	require.Equal(t, 1, b.openLetters("widget", "w1"))

	// A later good sync makes it pointless.
	b.row(b.send("widget.sold", "widget", "w1"), mirror.Processed)
	b.row(id, mirror.Superseded)
	require.Zero(t, b.openLetters("widget", "w1"))
}

func TestRedeliveryTakesDeadWorkUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", 1, fate.New(fate.Permanent, errBoom))
	b.start("w1")
	id := b.sendAs("evt_1", "widget.sold", "widget", "w1", "gadget", "g1")
	row := b.row(id, mirror.Dead)
	require.Equal(t, mirror.Processed, row.Entities[1].Status, "the other entity is not held up")
	b.empty()
	b.sendAs("evt_1", "widget.sold", "widget", "w1", "gadget", "g1")
	row = b.row(id, mirror.Processed)
	require.Equal(t, int64(1), row.Duplicates)
	b.empty()
}

func TestPermanentFailureIsBuriedAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", -1, fate.New(fate.Permanent, errBoom))
	b.start("w1")
	b.row(b.send("widget.made", "widget", "w1"), mirror.Dead)
	require.Equal(t, 1, b.provider.fetches("widget", "w1"))
	b.empty()
}

func TestPanicIsBuriedAndTheWorkerLives(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.on("widget", "w1", func(context.Context, int) (string, error) { panic("poison") })
	b.start("w1")
	b.row(b.send("widget.made", "widget", "w1"), mirror.Dead)
	b.row(b.send("widget.sold", "widget", "w2"), mirror.Processed)
	b.empty()
}

func TestGoneBecomesATombstone(t *testing.T) {
	t.Parallel()
	gone := fate.New(fate.Gone, errors.New("no such widget"))
	t.Run("known", func(t *testing.T) {
		b := setup(t)
		b.start("w1")
		for i := range 10 { // one 404 among many answers is believed
			b.row(b.send("widget.sold", "widget", fmt.Sprint("other", i)), mirror.Processed)
		}
		b.row(b.send("widget.sold", "widget", "w1"), mirror.Processed)
		b.provider.fails("widget", "w1", -1, gone)
		row := b.row(b.send("widget.sold", "widget", "w1"), mirror.Processed)
		require.Zero(t, row.Attempts, "to ask again is not charged")
		require.Equal(t, 3, b.provider.fetches("widget", "w1"), "asked again once")
		doc := b.document("widget", "w1")
		require.False(t, doc.DeletedAt.IsZero())
		require.JSONEq(t, ok, string(doc.Raw), "the last state stays")
	})
	t.Run("only too early", func(t *testing.T) {
		b := setup(t)
		b.provider.fails("widget", "w1", 1, gone)
		b.start("w1")
		b.row(b.send("widget.sold", "widget", "w1"), mirror.Processed)
		require.True(t, b.document("widget", "w1").DeletedAt.IsZero())
	})
	t.Run("never seen", func(t *testing.T) {
		b := setup(t)
		b.provider.fails("widget", "w1", -1, gone)
		b.start("w1")
		start := time.Now()
		b.row(b.send("widget.sold", "widget", "w1"), mirror.Processed)
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
		b.row(b.send("widget.sold", "widget", fmt.Sprint(i)), mirror.Processed)
	}
	gone := fate.New(fate.Gone, errors.New("not found"))
	b.provider.setProbe(gone)
	for i := range 5 {
		b.provider.fails("widget", fmt.Sprint(i), -1, gone)
		b.send("widget.made", "widget", fmt.Sprint(i))
	}
	b.paused("misconfigured")
	for i := range 5 {
		require.True(t, b.document("widget", fmt.Sprint(i)).DeletedAt.IsZero())
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	refused := fate.New(fate.Refused, errors.New("403"))
	t.Run("one entity", func(t *testing.T) {
		b := setup(t)
		b.provider.fails("widget", "w1", -1, refused)
		b.start("w1")
		b.row(b.send("widget.sold", "widget", "w1"), mirror.Dead)
		b.row(b.send("widget.sold", "widget", "w2"), mirror.Processed)
	})
	t.Run("our credentials", func(t *testing.T) {
		b := setup(t)
		b.provider.setProbe(refused)
		b.provider.fails("widget", "w1", 1, refused)
		b.start("w1")
		id := b.send("widget.sold", "widget", "w1")
		b.paused("credentials")
		b.row(id, mirror.Pending)
		b.provider.setProbe(nil) // the key was replaced
		row := b.row(id, mirror.Processed)
		require.Zero(t, row.Attempts)
	})
}

func TestThrottledPausesTheSource(t *testing.T) {
	t.Parallel()
	b := setup(t)
	slow := fate.New(fate.Throttled, errors.New("429"))
	slow.RetryAfter = time.Second
	b.provider.fails("widget", "w1", 1, slow)
	b.start("w1")
	start := time.Now()
	row := b.row(b.send("widget.sold", "widget", "w1"), mirror.Processed)
	require.GreaterOrEqual(t, time.Since(start), time.Second, "Retry-After is obeyed")
	require.Zero(t, row.Attempts)
}

func TestSourceDownChargesNobody(t *testing.T) {
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
		charged += b.row(id, mirror.Processed).Attempts
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

func (b *bundle) openLetters(kind, id string) int {
	b.t.Helper()
	return b.document(kind, id).OpenLetters
}
