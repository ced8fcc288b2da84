package worker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// The events of many notes are asked for together, not one by one.
func TestManyNotesAreAskedForAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var notes []stream.Note
	for i := range 200 {
		notes = append(notes, stream.Note{At: time.Now(), Source: "acme", Kind: "duplicate", EventID: fmt.Sprint("early_", i), Count: 1})
	}
	require.NoError(t, b.streams.AddNotes(b.ctx, notes))
	b.start("w1")
	require.True(t, eventually(func() bool { return b.store.count("known events") > 0 }), "the notes are looked at")
	require.Zero(t, b.store.count("event by id"))
}

// The events of many dead letters are looked up together.
func TestManyBuriedEventsAreLookedUpAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.provider.fails("widget", "w1", -1, fate.New(fate.Permanent, errBoom))
	for range 50 {
		b.send("widget.sold", "widget", "w1")
	}
	b.start("w1")
	require.True(t, eventually(func() bool {
		open, err := b.store.OpenLetters(b.ctx)
		return err == nil && open["acme"] == 50
	}))
	b.empty()
	require.Zero(t, b.store.count("event by id"))
	require.LessOrEqual(t, b.store.count("homes"), b.store.count("bury"))
	require.Less(t, b.store.count("bury"), 50)
	b.provider.fails("widget", "w1", 0, nil)
	b.row(b.sendAs("evt_1", "widget.sold", "widget", "w1"), storage.Processed) // it is let in again
}
