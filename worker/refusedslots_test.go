package worker_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker"
)

// refuseSettlements makes the store refuse what is settled by these events.
func (w *watched) refuseSettlements(of func(storage.Settlement) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuse = of
}

// A retry whose settlement the store refuses gives its sync slot back: with one
// slot, another entity is still synced. People are alerted once, however often
// the retry is made again, and it ends when the store accepts it.
func TestARefusedRetryKeepsNoSlot(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Sources[0].Concurrency = 1 })
	b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
	b.store.refuseSettlements(func(s storage.Settlement) bool { return s.Entity == key("widget", "w1") })
	b.start("w1")
	id := b.send("widget.sold", "widget", "w1")
	b.row(id, storage.Retrying)
	require.True(t, eventually(func() bool { return b.provider.fetches("widget", "w1") >= 2 }))
	b.row(b.send("widget.sold", "widget", "w2"), storage.Processed)
	require.True(t, eventually(func() bool { return b.provider.fetches("widget", "w1") >= 3 }), "the retry is made again")
	require.Len(t, b.told.of(alert.StoreRefuses), 1)
	require.Equal(t, 1, b.row(id, storage.Retrying).Attempts, "a refusal charges no attempt")
	b.store.refuseSettlements(nil)
	b.row(id, storage.Processed)
	b.empty()
}

// A sync that fails while an earlier settlement of its entity is refused cannot
// be parked before that. Its lane rests, without a slot and uncharged.
func TestAFailureBehindARefusedSettlementKeepsNoSlot(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *worker.Options) { o.Sources[0].Concurrency = 1 })
	b.store.refuseSettlements(func(s storage.Settlement) bool { return s.EventID == "evt_1" })
	stop := b.start("w1")
	first := b.send("widget.made", "widget", "w1")
	require.True(t, eventually(func() bool { return len(b.told.of(alert.StoreRefuses)) == 1 }))
	b.provider.fails("widget", "w1", 3, fate.New(fate.Transient, errBoom)) // the second and the third fetch
	second := b.send("widget.sold", "widget", "w1")
	require.True(t, eventually(func() bool { return b.provider.fetches("widget", "w1") >= 2 }))
	b.row(b.send("widget.sold", "widget", "w2"), storage.Processed)
	require.Zero(t, b.row(second, storage.Pending).Attempts)
	b.store.refuseSettlements(nil)
	b.row(first, storage.Processed)
	b.row(second, storage.Processed)
	b.empty()
	stop()
}

// What is refused is no work under way: a handover does not wait for it.
func TestAHandoverDoesNotWaitForWhatIsRefused(t *testing.T) {
	t.Parallel()
	log := &logged{}
	b := setup(t, func(o *worker.Options) { o.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	b.store.refuseSettlements(func(storage.Settlement) bool { return true })
	stop := b.start("w1")
	id := b.send("widget.sold", "widget", "w1")
	require.True(t, eventually(func() bool { return len(b.told.of(alert.StoreRefuses)) == 1 }))
	stop()
	require.Zero(t, log.count("handing over with work under way"))
	b.store.refuseSettlements(nil)
	b.start("w2")
	b.row(id, storage.Processed)
	b.empty()
}

// One bad settlement among many is found by halving: not with one write for each.
func TestARefusedSettlementIsFoundByHalving(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const n = 256
	held := make(chan struct{})
	b.store.held = map[string]chan struct{}{"settle": held}
	b.store.refuse = func(s storage.Settlement) bool { return s.EventID == "evt_100" }
	b.start("w1")
	for i := range n {
		b.send("widget.sold", "widget", fmt.Sprint("w", i))
	}
	require.True(t, eventually(func() bool { return b.metric("tarn_outcomes_settled_total") == n }), "all but the first few wait for the first write")
	close(held)
	require.True(t, eventually(func() bool { return len(b.told.of(alert.StoreRefuses)) == 1 }))
	for i := range n {
		if id := fmt.Sprint("evt_", i+1); id != "evt_100" {
			b.row(id, storage.Processed)
		}
	}
	require.Less(t, b.store.count("settle"), 40)
}
