package reconciler

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/provider"
)

// A kind that the key may not read is not asked for each of its entities. Where the list
// is answered, or the refusals may be of one parent, each entity is.
func TestASurveyLeavesARefusedKindOut(t *testing.T) {
	t.Parallel()
	const customers, orders = 6, 2
	for name, tc := range map[string]struct {
		refused func(path string) bool
		path    string
		asked   int
		failed  int64
	}{
		"the kind":          {func(path string) bool { return path == "/customers" || strings.Count(path, "/") == 2 }, "/customers/c", mostRefusals, mostRefusals + 1},
		"its entities":      {func(path string) bool { return strings.Count(path, "/") == 2 }, "/customers/c", customers, customers},
		"entities in lists": {func(path string) bool { return strings.Contains(path, "/orders") }, "/orders/o", customers * orders, customers * orders},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newScene(t)
			c.shop.stock(customers, orders)
			c.fill()
			c.clock.move(48 * time.Hour) // every entity is due
			c.shop.calls()
			c.shop.interfere(func(w http.ResponseWriter, r *http.Request) bool {
				if tc.refused(r.URL.Path) {
					w.WriteHeader(http.StatusForbidden)
				}
				return tc.refused(r.URL.Path)
			})
			k := c.def.Kind("customer")
			if name == "entities in lists" {
				k = c.def.Kind("order")
			}
			s := &survey{finder: c.finder, mode: modeSweep, id: "sweep_x", begun: c.clock.now(), counts: map[string]int64{}, failed: map[string]bool{}}
			require.NoError(t, s.checkKind(c.ctx, k, new(string)))
			n := 0
			for _, path := range c.shop.calls() {
				if strings.Contains(path, tc.path) {
					n++
				}
			}
			require.Equal(t, tc.asked, n)
			require.EqualValues(t, tc.failed, s.counts["failed_checks"])
			require.Empty(t, c.recorded())
			require.Empty(t, c.work())
		})
	}
}

// So is a kind that has no list, once many of its entities in a row were refused.
func TestASurveyLeavesARefusedKindWithoutAListOut(t *testing.T) {
	t.Parallel()
	const customers = mostUnlistedRefusals + 5
	text := strings.NewReplacer("    list: /customers\n", "", "    list: /customers/{customer}/orders\n", "").Replace(shopDefinition)
	def, err := provider.Parse("shop.yaml", []byte(text))
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		answered string // the customer that may be read
		asked    int
	}{
		"the kind":        {"", mostUnlistedRefusals},
		"some entities":   {"/customers/c12", customers}, // after two of c0, c1, c10 … in the order of ids
		"but for the 1st": {"/customers/c0", mostUnlistedRefusals + 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			c := newSceneAt(t, def, "shop", s.URL, s)
			s.stock(customers, 0)
			for i := range customers {
				c.sync(event.Ref{Key: c.key("customer", "c"+strconv.Itoa(i))})
			}
			c.clock.move(48 * time.Hour) // every entity is due
			s.calls()
			s.interfere(func(w http.ResponseWriter, r *http.Request) bool {
				refused := strings.HasPrefix(r.URL.Path, "/customers/") && r.URL.Path != tc.answered
				if refused {
					w.WriteHeader(http.StatusForbidden)
				}
				return refused
			})
			got := c.survey(modeSweep)
			require.Len(t, slices.DeleteFunc(s.calls(), func(path string) bool { return !strings.Contains(path, "/customers/c") }), tc.asked)
			refused := tc.asked
			if tc.answered != "" {
				refused--
			}
			require.EqualValues(t, refused, got.counts["failed_checks"])
			require.Empty(t, c.recorded())
			require.Empty(t, c.work())
		})
	}
}
