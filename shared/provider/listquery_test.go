package provider

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

// billing has lists with parameters of their own, and parents that stand only in
// parameters.
const billing = `provider: billing
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, context: context}
api: {errors: message, probe: /me, pagination: {style: last-id}}
kinds:
  subscription:
    get: /subscriptions/{subscription}
    list: /subscriptions
    query: {"expand[0]": customer}
    list_query: {status: all, "expand[0]": data.customer}
  item:
    get: /subscription_items/{item}
    list: /subscription_items
    list_query: {subscription: "{subscription}"}
  usage: {shape: list, list: "/usage", query: {item: "{item}"}, every: 1s}
  shop: {get: "/shops/{shop}", list: /shops}
  order:
    get: /orders/{order}
    list: /orders
    query: {shop: "{shop}", filter: "by-{shop}!"}
    ids: parents
  total: {shape: singleton, get: /total, query: {order: "{order}", shop: "{shop}"}, ids: parents, every: 1s}
events:
  order: {touches: [order, "*"], derived: [total]}
  subscription: {touches: [subscription, "*"], derived: [usage]}
`

func kindNames(kinds []*Kind) (names []string) {
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	return names
}

// asked runs a provider that notes what is asked and answers every request alike.
func asked(t *testing.T, d *Definition, text string) (*Client, func() string) {
	t.Helper()
	last := make(chan string, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last <- strings.TrimPrefix(r.RequestURI, "/v1")
		answers(200, text)(w, r)
	}))
	t.Cleanup(s.Close)
	return clientOf(t, d, ClientOptions{}, s.URL), func() string { return <-last }
}

func TestListsHaveParametersOfTheirOwn(t *testing.T) {
	d, err := Parse("billing.yaml", []byte(billing))
	require.NoError(t, err)
	c, was := asked(t, d, `{"id":"sub_1","data":[]}`)
	_, err = c.Fetch(t.Context(), event.Ref{Key: event.Key{Source: "s", Kind: "subscription", ID: "sub_1"}}, "x")
	require.NoError(t, err)
	require.Equal(t, "/subscriptions/sub_1?expand%5B0%5D=customer", was(), "a GET that takes no status is not asked for one")
	_, err = c.ListPage(t.Context(), ListKey{Source: "s", Kind: "subscription"}, "", "x")
	require.NoError(t, err)
	require.Equal(t, "/subscriptions?expand%5B0%5D=data.customer&limit=100&status=all", was())
}

// A parent that only the list needs fills its parameters and is no parent of what it
// shows: no answer of the GET could prove it.
func TestAParentOfTheListAlone(t *testing.T) {
	d, err := Parse("billing.yaml", []byte(billing))
	require.NoError(t, err)
	require.Empty(t, d.Kind("item").ParentKeys)
	require.Equal(t, []string{"item"}, kindNames(d.Under(d.Kind("subscription"))))
	require.Equal(t, []string{"usage"}, kindNames(d.Under(d.Kind("item"))), "with the parents of the item or without")
	require.Equal(t, []string{"subscription", "shop"}, kindNames(d.Roots()))

	c, was := asked(t, d, `{"data":[{"id":"si_1"}],"id":"si_1"}`)
	page, err := c.ListPage(t.Context(), ListKey{Source: "s", Kind: "item", Parents: map[string]string{"subscription": "a&b=c"}}, "", "x")
	require.NoError(t, err)
	require.Equal(t, "/subscription_items?limit=100&subscription=a%26b%3Dc", was())
	require.Equal(t, event.Ref{Key: event.Key{Source: "s", Kind: "item", ID: "si_1"}}, page.Items[0].Ref)
	_, err = c.Fetch(t.Context(), page.Items[0].Ref, "x")
	require.NoError(t, err)
	require.Equal(t, "/subscription_items/si_1", was())
	_, err = c.ListPage(t.Context(), ListKey{Source: "s", Kind: "item"}, "", "x")
	require.ErrorContains(t, err, "subscription of item")

	e, err := d.Event("s", nil, []byte(`{"id":"e","type":"subscription.updated","context":{"subscription":"sub_1","item":"si_1"}}`), now)
	require.NoError(t, err)
	require.Equal(t, "subscription item", kindsOf(e.Entities))
	require.Equal(t, "s/usage/si_1", e.Derived[0].Key.String(), "a list whose id stands in a parameter")
	_, err = c.Fetch(t.Context(), e.Derived[0], "x")
	require.NoError(t, err)
	require.Equal(t, "/usage?item=si_1&limit=100", was())
}

// Parents that stand only in parameters are parents like any other.
func TestParentsInParameters(t *testing.T) {
	d, err := Parse("billing.yaml", []byte(billing))
	require.NoError(t, err)
	order, shop := d.Kind("order"), map[string]string{"shop": "a/1"}
	require.Equal(t, "order", order.IDKey)
	require.Equal(t, []string{"shop"}, order.ParentKeys)
	require.Equal(t, []string{"order"}, kindNames(d.Under(d.Kind("shop"))))
	require.Equal(t, []string{"total"}, kindNames(d.Under(order)))
	require.Equal(t, "shop", d.Kind("total").IDKey, "of parameters alone, the last")

	c, was := asked(t, d, `{"data":[{"id":"o"}],"id":"o"}`)
	page, err := c.ListPage(t.Context(), ListKey{Source: "s", Kind: "order", Parents: shop}, "", "x")
	require.NoError(t, err)
	require.Equal(t, "/orders?filter=by-a%2F1%21&limit=100&shop=a%2F1", was(), "query goes with the list where no list_query is given")
	ref := page.Items[0].Ref
	require.Equal(t, event.Ref{Key: event.Key{Source: "s", Kind: "order", ID: "o", Under: event.Under("a/1")}, Parents: shop}, ref)
	_, err = c.Fetch(t.Context(), ref, "x")
	require.NoError(t, err)
	require.Equal(t, "/orders/o?filter=by-a%2F1%21&shop=a%2F1", was())
	_, err = c.Fetch(t.Context(), event.Ref{Key: ref.Key}, "x")
	require.ErrorContains(t, err, "shop of order")
	again, err := d.Ref(ref.Key, nil)
	require.NoError(t, err)
	require.Equal(t, ref, again)

	e, err := d.Event("s", nil, []byte(`{"id":"e","type":"order.made","context":{"shop":"a/1","order":"o"}}`), now)
	require.NoError(t, err)
	require.Equal(t, ref, e.Entities[0])
	e, err = d.Event("s", nil, []byte(`{"id":"e","type":"order.made","context":{"order":"o"}}`), now)
	require.NoError(t, err)
	require.True(t, d.NeedsParents(e))
}

func TestQueriesThatNeverWork(t *testing.T) {
	for name, c := range map[string]struct{ old, new, err string }{
		"list_query without a list":  {"    list: /subscriptions\n", "", "kinds.subscription.list_query: does nothing without list"},
		"list_query of a list kind":  {`query: {item: "{item}"}`, `list_query: {item: "{item}"}`, "kinds.usage.list_query: is for a kind that has both get and list: a list has one request"},
		"a half placeholder":         {`"by-{shop}!"`, `"by-{shop"`, `kinds.order.query.filter: is "by-{shop": want each placeholder once and as {name}`},
		"a brace too many":           {`"by-{shop}!"`, `"by-{shop}}"`, "kinds.order.query.filter: is \"by-{shop}}\": a } has no {"},
		"the list needs its own id":  {`query: {shop: "{shop}", filter: "by-{shop}!"}`, `query: {shop: "{shop}", me: "{order}"}`, "kinds.order.list: needs {order}, the id of one entity: give list_query"},
		"the list lacks a parent":    {`query: {shop: "{shop}", filter: "by-{shop}!"}`, `query: {shop: "{shop}"}` + "\n    list_query: {a: b}", `kinds.order.list: has the placeholders []: want those of get without the id, ["shop"]`},
		"no list leads to a parent":  {"    list: /subscriptions\n    query: {\"expand[0]\": customer}\n    list_query: {status: all, \"expand[0]\": data.customer}\n", "", "kinds.item: has a list that needs {subscription}, and no list leads to such ids"},
		"a parameter of the paging":  {"status: all", "starting_after: all", `kinds.subscription.list_query: holds "starting_after", which api.pagination sets`},
		"no pagination":              {", pagination: {style: last-id}", "", "kinds.shop.list: is read in pages, and nothing says how: give api.pagination, or pagination here"},
		"pagination without a list":  {"  usage:", "  one: {get: \"/one/{one}\", pagination: {style: page}}\n  usage:", "kinds.one.pagination: does nothing without list"},
		"events without pagination":  {", pagination: {style: last-id}", ", events: {path: /events}", "api.events.path: is read in pages, and nothing says how"},
		"webhooks without them":      {", pagination: {style: last-id}", ", webhooks: {path: /w, url: u, types: t}", "api.webhooks.path: is read in pages, and nothing says how"},
		"its own, without the style": {"api: {errors: message, probe: /me, pagination: {style: last-id}}", "api: {errors: message, probe: /me, events: {path: /e, pagination: {items: x}}}", "api.events.path: is read in pages, and nothing says how"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, billing, c.old, "the test is wrong")
			_, err := Parse("billing.yaml", []byte(strings.Replace(billing, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.err)
		})
	}
}

// A list can be asked for with what its own path and parameters need, which may be more
// than the GET of one entity needs.
func TestListableUnder(t *testing.T) {
	d, err := Parse("billing.yaml", []byte(billing))
	require.NoError(t, err)
	for _, c := range []struct {
		kind string
		ids  map[string]string
		want bool
	}{
		{"subscription", nil, true},
		{"item", nil, false},
		{"item", map[string]string{"subscription": ".."}, false},
		{"item", map[string]string{"subscription": "s1", "shop": "x"}, true},
		{"usage", map[string]string{"item": "i1"}, false}, // a list that is one entity
	} {
		require.Equal(t, c.want, d.Kind(c.kind).ListableUnder(c.ids), "%s %v", c.kind, c.ids)
	}
}
