package worker_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// An event that leads to nothing has a row that says why, counts, and is logged once per
// type. Read again once the definition is another, it is followed.
func TestEventsWithNotes(t *testing.T) {
	t.Parallel()
	b, s, log := setupShop(t, 3, 20*time.Second)
	strict, err := provider.Parse("strict.yaml", []byte(strings.Replace(shop, "context: context}", "context: context, require: {live: \"true\"}}", 1)))
	require.NoError(t, err)
	lenient := b.def
	send := func(def *provider.Definition, id, typ, context, live string) {
		t.Helper()
		b.def = def
		b.raw(fmt.Sprintf(`{"id":%q,"type":%q,"created_at":"2026-03-01T12:00:00Z","context":%s,"live":%s}`, id, typ, context, live))
	}
	const both = `{"customer":"c_1","order":"o_1"}`
	send(strict, "evt_unmet", "order.made", both, "false")
	send(strict, "evt_unmet_2", "order.made", both, "null")
	send(strict, "evt_unknown", "moon.risen", `{"moon":"m"}`, "true")
	send(strict, "evt_nothing", "order.made", `{}`, "true")
	send(strict, "evt_good", "order.made", both, "true")
	for id, note := range map[string]event.Note{
		"evt_unmet": event.RequireUnmet, "evt_unmet_2": event.RequireUnmet, "evt_unknown": event.UnknownType, "evt_nothing": event.NamesNothing, "evt_good": 0,
	} {
		require.Equal(t, note, b.row(id, storage.Processed).Note, id)
	}
	require.Equal(t, 1, s.count("/customers/c_1/orders/o_1"), "what is not followed asks for nothing")
	for note, n := range map[event.Note]int{event.RequireUnmet: 2, event.UnknownType: 1, event.NamesNothing: 1} {
		b.counted(n, "tarn_events_noted_total", "acme", note.String())
	}
	require.True(t, eventually(func() bool { return log.count("lack a value that the definition requires") == 1 }), "once per type")
	require.True(t, eventually(func() bool { return log.count("unknown to the definition") == 1 }))
	counted := func() (t stream.Tally) {
		t, err = b.streams.Counted(b.ctx, "acme", time.Now(), 2)
		require.NoError(b.t, err)
		return t
	}
	tallied := map[event.Note]int64{event.RequireUnmet: 2, event.UnknownType: 1, event.NamesNothing: 1}
	require.True(t, eventually(func() bool { return maps.Equal(tallied, counted().Noted) }))
	require.Zero(t, counted().All, "of a definition that requires nothing only notes are counted")

	// The same event, read by a definition that requires nothing.
	row := b.row("evt_unmet", storage.Processed)
	again, err := lenient.Stored(row.Kept())
	require.NoError(t, err)
	require.NoError(t, b.streams.ForgetEvents(b.ctx, map[string]event.Key{again.ID: again.Home()}))
	receipt, err := b.streams.Append(b.ctx, stream.Draft{Signal: event.Own(again, "")})
	require.NoError(t, err)
	require.False(t, receipt.Duplicate)
	require.True(t, eventually(func() bool {
		row = b.row("evt_unmet", storage.Processed)
		return row.Note == 0 && len(row.Entities) == 2
	}))
	require.Zero(t, row.Duplicates)
	require.NotNil(t, row.Entities[0].CoveredBy)
	require.Equal(t, 2, s.count("/customers/c_1/orders/o_1"))
	b.empty()
}
