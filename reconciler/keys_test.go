package reconciler

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// twoOrders is a scene in which two customers have an order of one id each, in
// different states. ids is what the definition says of orders.
func twoOrders(t *testing.T, ids string) *scene {
	t.Helper()
	const list = "    list: /customers/{customer}/orders\n"
	def, err := provider.Parse("shop.yaml", []byte(strings.Replace(shopDefinition, list, list+"    ids: "+ids+"\n", 1)))
	require.NoError(t, err)
	s := newShop(t)
	c := newSceneAt(t, def, "shop", s.URL, s)
	s.stock(2, 0)
	s.put("/customers/c0/orders/o", shopOrder("o", 1, "created"))
	return c
}

// order is the reference to the order of a customer.
func (c *scene) order(customer string) event.Ref {
	return c.def.Kind("order").Ref("shop", "o", under(customer))
}

func (c *scene) stateOf(ref event.Ref) string {
	c.t.Helper()
	doc, err := c.store.Entity(c.ctx, ref.Key)
	require.NoError(c.t, err)
	require.Equal(c.t, ref.Parents, doc.Parents)
	return string(doc.Raw)
}

// Two entities with one id are filled, swept, verified and repaired each by
// itself.
func TestOneIDUnderTwoParents(t *testing.T) {
	t.Parallel()
	c := twoOrders(t, "parents")
	c.shop.put("/customers/c1/orders/o", shopOrder("o", 2, "created"))
	c.fill()
	require.Contains(t, c.stateOf(c.order("c0")), `"amount":1`)
	require.Contains(t, c.stateOf(c.order("c1")), `"amount":2`)
	c.survey(modeSweep)
	require.Empty(t, c.recorded())
	require.Empty(t, c.entries())

	c.shop.put("/customers/c1/orders/o", shopOrder("o", 3, "created", "made"))
	r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.Len(t, r.Differences, 1)
	require.Equal(t, under("c1"), r.Differences[0].Parents)
	var table strings.Builder
	require.NoError(t, r.WriteTable(&table))
	require.Contains(t, table.String(), "o of customer c1")
	c.survey(modeSweep)
	entries := c.work()
	require.Len(t, entries, 1)
	require.Equal(t, c.order("c1"), entries[0].Signal.Ref)
	require.Contains(t, c.stateOf(c.order("c1")), `"amount":3`)

	c.shop.drop("/customers/c0/orders/o")
	require.Equal(t, []string{"deleted order/o"}, c.differences())
	c.survey(modeSweep)
	require.Len(t, c.work(), 1)
	require.Empty(t, c.differences())
	doc, err := c.store.Entity(c.ctx, c.order("c0").Key)
	require.NoError(t, err)
	require.False(t, doc.DeletedAt.IsZero())
}

// A fill by events fetches the one entity that an id alone names.
func TestAFillByEventsKnowsWhoseIDItIs(t *testing.T) {
	t.Parallel()
	for customers, want := range map[string][]string{"c0": {"sweep order/o"}, "c0 c1": {}} {
		c := twoOrders(t, "parents")
		for _, customer := range strings.Fields(customers) {
			c.shop.put("/customers/"+customer+"/orders/o", shopOrder("o", 1, "created"))
			c.sync(c.order(customer))
		}
		c.shop.happen("evt_1", "order.made", time.Now(), "order", "o")
		p := &partition{survey: survey{finder: c.finder, mode: modeBackfill, counts: map[string]int64{}}, spec: partitionSpec{Events: true}}
		p.save = func(context.Context) error { return nil }
		p.task = &storage.Task{}
		require.NoError(t, p.events(c.ctx, &place{}))
		entries := c.entries()
		require.Equal(t, want, signalled(entries), customers)
		if len(entries) > 0 {
			require.Equal(t, c.order("c0"), entries[0].Signal.Ref)
		}
	}
}

// Where ids are said to be unique and a list shows one under another parent in
// another state, the mirror keeps what it has as long as that is there. One alert is
// raised, and verify does not call the mirror in sync.
func TestAnIDThatIsNotUniqueIsKeptAndReportedOnce(t *testing.T) {
	t.Parallel()
	c := twoOrders(t, "provider")
	c.fill()
	c.shop.put("/customers/c1/orders/o", shopOrder("o", 2, "created"))
	var alerts []alert.Alert
	j := &judgement{finder: c.finder, raise: func(a alert.Alert) { alerts = append(alerts, a) }}
	for range 3 {
		c.survey(modeSweep)
		require.Empty(t, c.work(), "nothing is to be repaired")
		require.Contains(t, c.stateOf(c.order("c0")), `"amount":1`)
		require.Equal(t, []string{"shared_id order/o"}, c.recorded())
		c.clock.move(2 * c.finder.settings.Grace)
		require.NoError(t, j.round(c.ctx))
		c.sync(c.order("c0")) // as after an event
	}
	require.Len(t, alerts, 1)
	require.Equal(t, alert.Discrepancy, alerts[0].Kind)
	require.Equal(t, "shared_id", alerts[0].Class)
	require.Equal(t, "shop/order/o", alerts[0].Entity)
	require.Contains(t, alerts[0].Reason, "ids: parents")
	require.Equal(t, []string{"shared_id order/o"}, c.differences())
	r, err := verifyOnce(c.ctx, c.finder, VerifyOptions{Settle: time.Millisecond})
	require.NoError(t, err)
	require.False(t, r.InSync())
	require.Equal(t, []ReportDifference{{Kind: "order", ID: "o", Type: storage.SharedID}}, r.Differences)

	// Once it is gone from where it was known, it has moved.
	c.shop.drop("/customers/c0/orders/o")
	c.survey(modeSweep)
	require.NotEmpty(t, c.work())
	require.Contains(t, c.stateOf(c.order("c1")), `"amount":2`)
	require.Empty(t, c.differences())
}
