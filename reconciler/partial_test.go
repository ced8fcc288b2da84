package reconciler

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
	"github.com/tarn-sync/tarn/shared/storage"
)

// shortList is a scene with 60 orders, whose list shows their ids and amounts alone,
// on one page; partial tells the definition so.
func shortList(t *testing.T, partial bool) *scene {
	t.Helper()
	text := shopDefinition
	if partial {
		text = strings.Replace(text, "    list: /customers/{customer}/orders\n", "    list: /customers/{customer}/orders\n    element: partial\n", 1)
	}
	def, err := provider.Parse("shop.yaml", []byte(text))
	require.NoError(t, err)
	s := newShop(t)
	c := newSceneAt(t, def, "shop", s.URL, s)
	// So that none is due in full by chance.
	c.finder.settings.Kinds["order"] = config.ReconcileKind{VerifyEvery: 100 * 365 * 24 * time.Hour}
	s.stock(1, 60)
	c.fill()
	c.showShort()
	c.clock.move(time.Minute)
	s.calls()
	return c
}

// showShort lets the list of orders show what there is, in short.
func (c *scene) showShort() {
	const list = "/customers/c0/orders"
	c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != list {
			return false
		}
		c.shop.mu.Lock()
		defer c.shop.mu.Unlock()
		var elements []string
		for _, path := range c.shop.lists[list] {
			state, err := c.def.Read("order", []byte(c.shop.state[path]))
			require.NoError(c.t, err)
			_, rest, _ := strings.Cut(string(state.Raw), `"amount":`)
			amount, _, _ := strings.Cut(rest, ",")
			elements = append(elements, fmt.Sprintf(`{"id":%q,"amount":%s}`, path[strings.LastIndexByte(path, '/')+1:], amount))
		}
		_, _ = fmt.Fprintf(w, `{"data":[%s],"next":null}`, strings.Join(elements, ","))
		return true
	})
}

func TestTheCallsOfAListThatShowsLess(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		partial      bool
		sweep, check int // calls
	}{
		"not declared": {false, 62, 62},
		"declared":     {true, 2, 62},
	} {
		t.Run(name, func(t *testing.T) {
			c := shortList(t, tc.partial)
			c.survey(modeSweep)
			require.Len(t, c.shop.calls(), tc.sweep)
			require.Empty(t, c.recorded())
			require.True(t, c.verify().InSync())
			require.Len(t, c.shop.calls(), tc.check+1, "verify compares the whole states, and the balance")
			c.survey(modeBackfill)
			if tc.partial {
				require.Len(t, c.shop.calls(), 2)
				require.Empty(t, c.entries())
			}
		})
	}
}

// A sweep finds what the element shows at once, and the rest when it is due.
func TestWhatASweepFindsInAListThatShowsLess(t *testing.T) {
	t.Parallel()
	c := shortList(t, true)
	c.shop.put("/customers/c0/orders/o0_1", shopOrder("o0_1", 7, "created"))
	c.shop.put("/customers/c0/orders/o0_2", shopOrder("o0_2", 1, "created", "made")) // the list does not show it
	c.shop.put("/customers/c0/orders/new", shopOrder("new", 1, "created"))
	c.shop.drop("/customers/c0/orders/o0_3")
	c.survey(modeSweep)
	require.Equal(t, []string{"deleted order/o0_3", "missing order/new", "stale order/o0_1"}, c.recorded())
	require.ElementsMatch(t, []string{
		"/customers", "/customers/c0/orders", "/customers/c0/orders/o0_1", "/customers/c0/orders/new", "/customers/c0/orders/o0_3",
	}, c.shop.calls())
	c.work()
	page, err := c.store.Discrepancies(c.ctx, storage.DiscrepancyFilter{Type: storage.Missing})
	require.NoError(t, err)
	state, err := c.client.Fetch(c.ctx, event.Ref{Key: c.key("order", "new"), Parents: map[string]string{"customer": "c0"}}, "test")
	require.NoError(t, err)
	require.Equal(t, state.Hash, page.Items[0].StateHash, "of the whole state, as an event's fetch has it")
	require.Equal(t, []string{"stale order/o0_2"}, c.verify().different())

	c.finder.settings.Kinds["order"] = config.ReconcileKind{VerifyEvery: time.Hour}
	c.shop.calls()
	const sweeps = 12
	for range sweeps { // two hours
		c.clock.move(10 * time.Minute)
		c.survey(modeSweep)
	}
	require.Contains(t, c.recorded(), "stale order/o0_2")
	asked := 0
	for _, path := range c.shop.calls() {
		if strings.Contains(path, "/orders/") {
			asked++
		}
	}
	require.GreaterOrEqual(t, asked, 60, "each at least once")
	require.LessOrEqual(t, asked, 60*2+2*sweeps, "and once an hour, but for the stale one, until it is repaired")
}

// A kind whose list always shows less says so: in the sweep's result, and once in the
// log.
func TestAListThatShowsLessIsReported(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		partial, one bool
		warnings     int
	}{
		"not declared":      {warnings: 1},
		"declared":          {partial: true},
		"one of many alone": {one: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := shortList(t, tc.partial)
			if tc.one {
				elements := []string{`{"id":"o0_0"}`}
				for i := 1; i < 60; i++ {
					elements = append(elements, shopOrder(fmt.Sprintf("o0_%d", i), 1, "created"))
				}
				c.answerList("/customers/c0/orders", elements...)
			}
			var out bytes.Buffer
			c.finder.log = slog.New(slog.NewTextHandler(&out, nil))
			r := c.replica("a")
			for range 2 {
				task := c.sweepBy(modeSweep, storage.SweepSpec{}, r)
				require.Equal(t, storage.TaskDone, task.Status)
				require.Len(t, task.Warnings(), tc.warnings)
				if tc.warnings > 0 {
					require.Contains(t, task.Warnings()[0], `set "element: partial" under kinds.order`)
				}
			}
			require.Equal(t, tc.warnings, strings.Count(out.String(), "element: partial"), "once")
		})
	}
}
