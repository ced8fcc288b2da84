package worker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// A panic in any loop ends neither the worker nor the loop, and what the loop had in
// flight is done again.
func TestLoopsThatPanicAreStartedAgain(t *testing.T) {
	t.Parallel()
	for method, loop := range map[string]string{"log": "intake", "settle": "settler"} {
		t.Run(loop, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.store.panicIn(method, 2)
			b.start("w1")
			one := b.send("widget.made", "widget", "w1")
			two := b.send("widget.sold", "widget", "w2")
			b.row(one, storage.Processed)
			b.row(two, storage.Processed)
			b.empty()
			require.InDelta(t, 2, b.metric("tarn_loop_restarts_total", loop), 0)
			require.Empty(t, b.told.alerts, "no work was given up for it")
		})
	}
}

// A panic while a sync is concluded concerns that entity alone.
func TestPanicInTheEndOfASync(t *testing.T) {
	t.Parallel()
	t.Run("before anything was passed on", func(t *testing.T) {
		b := setup(t)
		b.provider.fails("widget", "w1", 1, fate.New(fate.Transient, errBoom))
		b.store.panicIn("fail", 1)
		b.start("w1")
		id := b.send("widget.made", "widget", "w1")
		b.row(id, storage.Dead)
		require.Equal(t, "panic", b.letter(id, "widget", "w1").Class)
		b.row(b.send("widget.sold", "widget", "w2"), storage.Processed)
		b.empty()
	})
	t.Run("and again while burying", func(t *testing.T) {
		b := setup(t)
		b.provider.fails("widget", "w1", 1, fate.New(fate.Permanent, errBoom))
		b.store.panicIn("bury", 2)
		b.start("w1")
		id := b.send("widget.made", "widget", "w1")
		b.row(id, storage.Processed) // the shard started over
		b.empty()
	})
}
