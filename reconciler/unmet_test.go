package reconciler

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/stream"
)

// strictShop is the shop's definition with a value that events must have.
func strictShop(t *testing.T) *provider.Definition {
	t.Helper()
	def, err := provider.Parse("shop.yaml", []byte(strings.Replace(shopDefinition, "context: context}", "context: context, require: {live: \"true\"}}", 1)))
	require.NoError(t, err)
	return def
}

// Events of the provider's list that lack what is required are not this source's: they
// are neither reported as missed nor appended, however often they are listed.
func TestUnmetEventsAreNotMissed(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	c := newSceneAt(t, strictShop(t), "shop", s.URL, s)
	at := c.clock.now().Add(-time.Hour)
	live := strings.Replace(shopEvent("evt_live", "order.made", at.Add(time.Minute), "customer", "c0", "order", "o0_0"), `"context"`, `"live":true,"context"`, 1)
	s.events = []string{shopEvent("evt_test", "order.made", at, "customer", "c0", "order", "o0_1"), live}
	g := c.search()
	require.NoError(t, g.round(c.ctx))
	entries := c.work()
	require.Len(t, entries, 1)
	require.Equal(t, "evt_live", entries[0].Signal.CauseID)
	require.NoError(t, g.round(c.ctx))
	require.Empty(t, c.entries())
	page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{})
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	require.Equal(t, "evt_live", page.Items[0].EventID)
	require.False(t, g.state.Mark.IsZero(), "the search goes on behind them")
}

func TestAllEventsUnmetAlert(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	c := newSceneAt(t, strictShop(t), "shop", s.URL, s)
	var alerts []alert.Alert
	c.finder.alert = func(a alert.Alert) { alerts = append(alerts, a) }
	u := unmetWatch{finder: c.finder}
	period := func(unmet, all int64) {
		t.Helper()
		require.NoError(t, c.streams.Count(c.ctx, "shop", c.clock.now(), stream.Tally{Noted: map[event.Note]int64{event.RequireUnmet: unmet}, All: all}))
		u.look(c.ctx) // the period is not over
		c.clock.move(stream.TallyPeriod)
		u.look(c.ctx)
		u.look(c.ctx)
	}
	period(3, 4)
	require.Empty(t, alerts, "one was followed")
	period(3, 3)
	require.Len(t, alerts, 1)
	require.Equal(t, alert.RequireUnmet, alerts[0].Kind)
	require.Equal(t, "shop", alerts[0].Source)
	require.Contains(t, alerts[0].Reason, "all 3 events of ten minutes lack a value")
	period(5, 5)
	require.Len(t, alerts, 1, "once, while it goes on")
	period(0, 0)
	require.Len(t, alerts, 1)
	period(1, 2)
	period(2, 2)
	require.Len(t, alerts, 2, "again, after it was well")

	c.finder.def, alerts = newScene(t).def, nil
	period(4, 4)
	require.Empty(t, alerts, "a definition that requires nothing")
}
