package reconciler

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/provider"
)

// cutShop is a scene with three orders, of which the second shows one of its two
// fills, in the list and in its GET.
func cutShop(t *testing.T) *scene {
	t.Helper()
	const list = "    list: /customers/{customer}/orders\n"
	def, err := provider.Parse("shop.yaml", []byte(strings.Replace(shopDefinition, list,
		list+"    complete: [{at: fills, path: \"/customers/{customer}/orders/{order}/fills\"}]\n", 1)))
	require.NoError(t, err)
	s := newShop(t)
	c := newSceneAt(t, def, "shop", s.URL, s)
	s.stock(1, 3)
	c.fills(1)
	return c
}

// fills puts two fills of an amount into the shop.
func (c *scene) fills(amount int) {
	const path = "/customers/c0/orders/o0_1"
	for i := range 2 {
		c.shop.put(fmt.Sprintf("%s/fills/f%d", path, i), fmt.Sprintf(`{"id":"f%d","amount":%d}`, i, amount*i))
	}
	state := shopOrder("o0_1", 1, "created")
	c.shop.put(path, strings.TrimSuffix(state, "}")+`,"fills":{"has_more":true,"data":[{"id":"f0","amount":0}]}}`)
}

// An element with a list that is not whole is fetched, and neither compared nor taken
// for the state.
func TestElementsWithListsThatAreNotWhole(t *testing.T) {
	t.Parallel()
	c := cutShop(t)
	c.fill()
	docs := c.documents()
	kept := ""
	for _, d := range docs {
		if d.Key.ID == "o0_1" {
			kept = string(d.Raw)
		}
	}
	require.Contains(t, kept, `"fills":{"has_more":false,"data":[{"id":"f0","amount":0},{"id":"f1","amount":1}]}`)

	c.clock.move(time.Minute)
	c.shop.calls()
	c.survey(modeSweep)
	asked := c.shop.calls()
	require.Contains(t, asked, "/customers/c0/orders/o0_1/fills", "read to its end")
	require.Equal(t, 1, count(asked, "/customers/c0/orders/o0_1"))
	require.NotContains(t, asked, "/customers/c0/orders/o0_0", "others are compared as they are listed")
	require.Empty(t, c.work(), "what is the same is not fetched by a worker")
	require.Empty(t, c.recorded())

	c.fills(7) // beyond what the list shows
	c.clock.move(time.Minute)
	c.survey(modeSweep)
	require.Equal(t, []string{"discrepancy order/o0_1"}, signalled(c.work()))
	require.Equal(t, []string{"stale order/o0_1"}, c.recorded())
	require.Empty(t, c.differences())
}

// What the mirror has from before the definition named the list is no better.
func TestAMirrorWithAListThatIsNotWhole(t *testing.T) {
	t.Parallel()
	c := cutShop(t)
	c.fill()
	c.clock.move(time.Minute)
	const shown = `{"has_more":true,"data":[{"id":"f0","amount":0}]}`
	require.EqualValues(t, 1, c.exec(`UPDATE mirror SET raw = replace(raw, ?1, ?2) WHERE kind = 'order' AND id = 'o0_1'`,
		`{"has_more":false,"data":[{"id":"f0","amount":0},{"id":"f1","amount":1}]}`, shown))
	require.Equal(t, []string{"stale order/o0_1"}, c.differences())
	c.survey(modeSweep)
	require.Equal(t, []string{"discrepancy order/o0_1"}, signalled(c.work()))
	require.Empty(t, c.differences())
}

// One that the mirror lacks is missing as it is, not as the list shows it.
func TestAMissingElementWithAListThatIsNotWhole(t *testing.T) {
	t.Parallel()
	c := cutShop(t)
	c.fill()
	c.lose("order", "o0_1")
	c.clock.move(time.Minute)
	c.shop.calls()
	c.survey(modeSweep)
	require.Contains(t, c.shop.calls(), "/customers/c0/orders/o0_1/fills")
	require.Equal(t, []string{"missing order/o0_1"}, c.recorded())
}

func count(all []string, one string) (n int) {
	for _, s := range all {
		if s == one {
			n++
		}
	}
	return n
}
