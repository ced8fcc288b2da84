package worker_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// found records a confirmed discrepancy and sends its signal, as a sweep does.
func (b *bundle) found(id string, typ storage.DiscrepancyType, ref event.Ref) {
	b.t.Helper()
	now := time.Now().UTC()
	require.NoError(b.t, b.store.Record(b.ctx, []storage.Discrepancy{
		{ID: id, Source: "acme", Entity: ref.Key, Type: typ, FoundAt: now},
	}))
	_, err := b.store.Judge(b.ctx, []string{id}, nil, now)
	require.NoError(b.t, err)
	b.signal(event.CauseDiscrepancy, id, ref)
}

// discrepancy waits until one has a status and returns it.
func (b *bundle) discrepancy(id string, want storage.DiscrepancyStatus) *storage.Discrepancy {
	b.t.Helper()
	var last *storage.Discrepancy
	require.True(b.t, eventually(func() bool {
		page, err := b.store.Discrepancies(b.ctx, storage.DiscrepancyFilter{Limit: 200})
		require.NoError(b.t, err)
		for _, d := range page.Items {
			if d.ID == id {
				last = d
			}
		}
		return last != nil && last.Status == want
	}), "discrepancy %s did not become %s; last seen: %+v", id, want, last)
	return last
}

func TestDiscrepanciesHearHowTheirRepairEnded(t *testing.T) {
	t.Parallel()
	gone := fate.New(fate.Gone, errors.New("no such widget"))
	w1 := event.Ref{Key: key("widget", "w1")}
	t.Run("an entity never seen", func(t *testing.T) {
		b := setup(t)
		b.start("w1")
		b.found("d1", storage.Missing, w1)
		require.False(t, b.discrepancy("d1", storage.Repaired).RepairedAt.IsZero())
		require.True(t, b.document("widget", "w1").Known())
		b.empty()
	})
	t.Run("nothing differs any more", func(t *testing.T) {
		b := setup(t)
		b.start("w1")
		b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
		b.found("d1", storage.Stale, w1)
		b.discrepancy("d1", storage.Repaired)
	})
	t.Run("deleted", func(t *testing.T) {
		b := setup(t)
		b.start("w1")
		b.row(b.send("widget.sold", "widget", "w2"), storage.Processed) // which is still there
		b.row(b.send("widget.sold", "widget", "w1"), storage.Processed)
		b.provider.fails("widget", "w1", -1, gone)
		b.found("d1", storage.Deleted, w1)
		b.discrepancy("d1", storage.Repaired)
		require.False(t, b.document("widget", "w1").DeletedAt.IsZero())
		b.empty()
	})
	t.Run("given up", func(t *testing.T) {
		b := setup(t)
		b.provider.fails("widget", "w1", 1, fate.New(fate.Permanent, errBoom))
		b.start("w1")
		b.found("d1", storage.Stale, w1)
		b.discrepancy("d1", storage.Failed)
		b.empty()
		// A later sync of the same finding may succeed.
		b.signal(event.CauseDiscrepancy, "d1", w1)
		b.discrepancy("d1", storage.Repaired)
	})
	t.Run("out of attempts", func(t *testing.T) {
		b := setup(t)
		b.provider.fails("widget", "w1", 3, fate.New(fate.Transient, errBoom))
		b.start("w1")
		b.found("d1", storage.Stale, w1)
		b.discrepancy("d1", storage.Failed)
		b.empty()
		require.Equal(t, 3, b.provider.fetches("widget", "w1"))
	})
	t.Run("a retry repairs", func(t *testing.T) {
		b := setup(t)
		b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
		b.start("w1")
		b.found("d1", storage.Stale, w1)
		b.discrepancy("d1", storage.Repaired)
		b.empty()
	})
}

func TestRepairsAreWrittenTogether(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 150
	for i := range n {
		b.found(fmt.Sprint("d", i), storage.Stale, event.Ref{Key: key("widget", "w1")})
	}
	b.start("w1")
	b.empty()
	b.discrepancy("d0", storage.Repaired)
	b.discrepancy(fmt.Sprint("d", n-1), storage.Repaired)
	require.Less(t, b.store.count("repair"), 10)
}

// A sweep that finds much deleted in complete lists is no wrong address, as
// long as anything else is still there.
func TestForeseenDeletesAreBelieved(t *testing.T) {
	t.Parallel()
	const n = 30
	b := setup(t)
	b.start("w1")
	for range 2 { // an answer counts for entities that are known
		for i := range n + 1 {
			b.row(b.send("widget.sold", "widget", fmt.Sprint(i)), storage.Processed)
		}
	}
	for i := range n {
		b.provider.fails("widget", fmt.Sprint(i), -1, fate.New(fate.Gone, errors.New("no such widget")))
		b.found(fmt.Sprint("d", i), storage.Deleted, event.Ref{Key: key("widget", fmt.Sprint(i))})
	}
	for i := range n {
		b.discrepancy(fmt.Sprint("d", i), storage.Repaired)
	}
	b.row(b.send("widget.sold", "widget", fmt.Sprint(n)), storage.Processed)
}

func TestOpenDeadLettersAreMeasured(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", -1, fate.New(fate.Permanent, errBoom))
	stop := b.start("w1")
	b.row(b.send("widget.sold", "widget", "w1"), storage.Dead)
	b.empty()
	b.counted(1, "tarn_dead_letters_total", "acme", "permanent")
	stop()
	b.start("w2") // measures at once
	require.True(t, eventually(func() bool { return b.metric("tarn_open_dead_letters", "acme") == 1 }))
}
