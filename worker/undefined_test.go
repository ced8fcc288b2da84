package worker_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/worker"
)

// smaller is the definition before gadgets were added to it.
func smaller(t *testing.T) *provider.Definition {
	t.Helper()
	text, _, _ := strings.Cut(definition, "  gadget:\n")
	_, rest, _ := strings.Cut(definition, "  receipt:\n")
	text += "  receipt:\n" + strings.Replace(rest, "  gadget: {touches: [gadget]}\n", "", 1)
	def, err := provider.Parse("acme.yaml", []byte(text))
	require.NoError(t, err)
	require.Nil(t, def.Kind("gadget"))
	return def
}

// parkedAre waits until so many entities are parked.
func (b *bundle) parkedAre(want int64) {
	b.t.Helper()
	require.True(b.t, eventually(func() bool {
		shards, _, err := b.streams.Fleet(b.ctx, []string{"acme"})
		var parked int64
		for _, s := range shards {
			parked += s.Sources["acme"].Parked
		}
		return err == nil && parked == want
	}))
}

// While a definition with a new kind is rolled out, an old worker parks what it
// does not know, and a new one takes it up.
func TestKindOfANewerDefinitionWaitsForANewerWorker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	said := &spoken{}
	b.options.Logger = slog.New(slog.NewTextHandler(said, nil))
	newer := b.options.Sources
	b.options.Sources = []worker.Source{{Name: "acme", Definition: smaller(t), Client: b.provider, Concurrency: 16}}
	stop := b.start("old")
	one, two := b.send("gadget.made", "gadget", "g1"), b.send("gadget.made", "gadget", "g2")
	known := b.send("widget.sold", "widget", "w1")
	b.row(known, storage.Processed)
	b.parkedAre(2)
	// More signals, and looks at what is due, than there are attempts.
	for range b.options.Retry.Attempts + 1 {
		b.send("gadget.made", "gadget", "g1")
	}
	require.True(t, eventually(func() bool {
		return b.metric("tarn_backlog_entries", "live") == 0 && b.metric("tarn_parked_entities") == 2
	}))
	for _, id := range []string{one, two} {
		row := b.row(id, storage.Retrying)
		require.Zero(t, row.Attempts)
		require.Contains(t, row.Entities[0].Error, "no such kind")
		require.True(t, row.Entities[0].NextAt.After(row.Entities[0].FailedAt), "it says when it is tried again")
	}
	require.Zero(t, b.metric("tarn_dead_letters_total"))
	require.Zero(t, b.provider.fetches("gadget", "g1"))
	_, err := b.store.Entity(b.ctx, key("gadget", "g1"))
	require.ErrorIs(t, err, storage.ErrNotFound, "what was never asked for has no document")
	require.Equal(t, 1, said.with("has no such kind", "kind=gadget"))
	require.True(t, eventually(func() bool { return b.metric("tarn_undefined_waiting_entities", "gadget") == 2 }))
	// The warning comes after 30 first retry pauses and a measuring.
	require.True(t, within(3*patience, func() bool { return said.with("no worker has taken them", "kind=gadget") == 1 }))
	stop()

	b.options.Sources = newer
	b.start("new")
	b.row(one, storage.Processed)
	b.row(two, storage.Processed)
	b.empty()
}
