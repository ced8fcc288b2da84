package worker_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/worker"
)

// hints are those in Redis, by entity.
func (b *bundle) hints() map[event.Key]int64 {
	b.t.Helper()
	var shards []int
	for n := range b.streams.Shards() {
		shards = append(shards, n)
	}
	found, err := b.streams.Hints(b.ctx, "acme", shards, 1000)
	require.NoError(b.t, err)
	all := map[event.Key]int64{}
	for _, at := range found {
		require.Empty(b.t, at.Unreadable)
		for _, h := range at.Hints {
			all[h.Key] = max(all[h.Key], h.Version)
		}
	}
	return all
}

// A change leaves a hint in the step that takes its entries out, and the bell rings for
// its shard. What has not changed leaves none once the feed has it.
func TestAChangeLeavesAHint(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	b.row(b.send("widget.made", "widget", "a"), storage.Processed)
	b.empty()
	require.Equal(t, map[event.Key]int64{key("widget", "a"): 1}, b.hints())
	bell := b.streams.Bell("acme")
	defer bell.Close()
	require.Eventually(t, func() bool {
		shards, err := bell.Wait(b.ctx, time.Second)
		require.NoError(t, err)
		return slices.Contains(shards, key("widget", "a").Shard(b.streams.Shards()))
	}, patience, time.Millisecond)

	b.row(b.send("widget.made", "widget", "a"), storage.Processed)
	b.empty()
	require.Equal(t, map[event.Key]int64{key("widget", "a"): 1}, b.hints(), "it is a debt still, and told by its version")
	b.pay()
	b.row(b.send("widget.made", "widget", "a"), storage.Processed)
	b.empty()
	require.Empty(t, b.hints())
	b.start("w2")
}

// pay does what a sequencer does when hints are in the log.
func (b *bundle) pay() {
	b.t.Helper()
	var shards []int
	for n := range b.streams.Shards() {
		shards = append(shards, n)
	}
	found, err := b.streams.Hints(b.ctx, "acme", shards, 1000)
	require.NoError(b.t, err)
	for _, at := range found {
		for _, h := range at.Hints {
			_, err := b.store.Fed(b.ctx, []storage.Item{storage.Item(h)})
			require.NoError(b.t, err)
		}
	}
	require.NoError(b.t, b.streams.DropHints(b.ctx, "acme", found))
}

// A worker died after it settled an event and before it acked its entry, and with it the
// hint. The next one finds the event settled, and asks for the debt.
func TestSettledAndNotAckedIsTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.send("widget.made", "widget", "a")
	widget := event.Ref{Key: key("widget", "a")}
	shard := widget.Key.Shard(b.streams.Shards())
	lease, err := b.streams.Acquire(b.ctx, shard, "dead", []string{"acme"})
	require.NoError(t, err)
	entries := readAll(t, b.ctx, lease)
	require.Len(t, entries, 1)
	_, err = b.store.Log(b.ctx, []storage.Arrival{{Event: entries[0].Signal.Body, Signal: storage.SignalID{Shard: shard, ID: entries[0].ID}}})
	require.NoError(t, err)
	doc, err := b.store.Claim(b.ctx, widget)
	require.NoError(t, err)
	_, err = b.store.Write(b.ctx, &storage.Write{Ref: widget, Claim: doc.Claim, SentAt: time.Now(), Raw: []byte(`{"id":"a"}`), StateHash: "h"})
	require.NoError(t, err)
	require.NoError(t, b.store.Settle(b.ctx, []storage.Settlement{{
		Source: "acme", EventID: id, Entity: widget.Key, Signal: storage.SignalID{Shard: shard, ID: entries[0].ID},
		CoveredBy: storage.Covered{Claim: doc.Claim, FetchedAt: time.Now(), Signal: entries[0].ID}, At: time.Now(),
	}}))
	require.NoError(t, lease.Release(b.ctx))

	b.start("w1")
	b.empty()
	require.Equal(t, map[event.Key]int64{widget.Key: 1}, b.hints())
	require.Zero(t, b.provider.fetches("widget", "a"), "it is not synced again")
}

// readAll reads what waits in the live stream of a shard.
func readAll(t *testing.T, ctx context.Context, lease *stream.Lease) (entries []event.Entry) { //nolint:revive // t comes first in tests
	t.Helper()
	_, err := lease.TakeOver(ctx, "acme", event.TierLive, func([]event.Entry) error { return nil })
	require.NoError(t, err)
	entries, err = lease.Read(ctx, "acme", event.TierLive, stream.Limits{})
	require.NoError(t, err)
	return entries
}

// A worker died after its write, and the provider fails the next sync for good: the
// entry leaves with the dead letter, and with the hint.
func TestADeadLetterTellsWhatIsOwed(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"at once":                 fate.Errorf(fate.Permanent, "422"),
		"after it was tried more": fate.Errorf(fate.Transient, "503"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			gadget := event.Ref{Key: key("gadget", "g")}
			doc, claimed := b.store.Claim(b.ctx, gadget)
			require.NoError(t, claimed)
			_, written := b.store.Write(b.ctx, &storage.Write{Ref: gadget, Claim: doc.Claim, SentAt: time.Now(), Raw: []byte(`{"id":"g"}`), StateHash: "h"})
			require.NoError(t, written)
			b.provider.fails("gadget", "g", -1, err)
			b.start("w1")
			b.row(b.send("gadget.made", "gadget", "g"), storage.Dead)
			b.empty()
			require.Equal(t, map[event.Key]int64{gadget.Key: 1}, b.hints())
		})
	}
}

// While no reconciler is there, the workers say how long changes have waited.
func TestHowLongChangesWaitIsMeasured(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start("w1")
	b.row(b.send("widget.made", "widget", "a"), storage.Processed)
	require.True(t, eventually(func() bool { return b.metric("tarn_feed_debt_seconds", "acme") > 0 }))
	b.empty()
	b.pay()
	b.row(b.send("widget.made", "widget", "a"), storage.Processed) // it has not changed
	b.counted(0, "tarn_feed_debt_seconds", "acme")
}

// Without the feed nothing is left in Redis. The documents show what it lacks.
func TestWithoutTheFeedNoHintIsLeft(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.WithoutFeed = true })
	b.start("w1")
	b.row(b.send("widget.made", "widget", "a"), storage.Processed)
	b.empty()
	require.Empty(t, b.hints())
	require.True(t, b.document("widget", "a").Owes())
}

// What was parked leaves a hint as it is un-parked.
func TestAnUnparkedChangeLeavesAHint(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("gadget", "g", 1, fate.Errorf(fate.Transient, "503"))
	b.start("w1")
	b.row(b.send("gadget.made", "gadget", "g"), storage.Processed)
	b.empty()
	require.EqualValues(t, 2, b.hints()[key("gadget", "g")])
}
