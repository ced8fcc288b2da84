package provider

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// own has orders whose ids are unique under their account only, with what stands
// under them.
const own = `provider: own
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, context: context}
api: {errors: message, probe: /me, pagination: {style: cursor}}
kinds:
  account: {get: "/accounts/{account}", list: /accounts}
  order:
    get: /accounts/{account}/shops/{shop}/orders/{order}
    list: /accounts/{account}/shops/{shop}/orders
    ids: parents
  total:
    shape: singleton
    get: /accounts/{account}/shops/{shop}/orders/{order}/total
    ids: parents
    every: 1s
  fill: {get: "/accounts/{account}/shops/{shop}/orders/{order}/fills/{fill}"}
  shop: {get: "/accounts/{account}/shops/{shop}", list: "/accounts/{account}/shops"}
events:
  order: {touches: [order, "*"], derived: [total]}
`

func TestDefinitionsSayWhichIDsAreUnique(t *testing.T) {
	for name, c := range map[string]struct{ old, new, err string }{
		"another word":            {"ids: parents", "ids: account", `own.yaml:10: kinds.order.ids: is "account": want one of provider, parents`},
		"no parents":              {"list: /accounts}", "list: /accounts, ids: parents}", `own.yaml:6: kinds.account.ids: is "parents": the path of account has no parents`},
		"lent by a qualified":     {"    ids: parents\n    every", "    every", "kinds.total: has the ids of order, so both need the same ids:"},
		"lent by one that is not": {"orders\n    ids: parents", "orders", "kinds.total: has the ids of order, so both need the same ids:"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Contains(t, own, c.old)
			_, err := Parse("own.yaml", []byte(strings.Replace(own, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.err)
		})
	}
	d, err := Parse("own.yaml", []byte(own))
	require.NoError(t, err)
	require.True(t, d.Kind("order").Qualified)
	require.False(t, d.Kind("fill").Qualified, "an id is unique by itself unless said otherwise")
}

// Wherever a reference is made, the parents qualify its key.
func TestReferencesAreQualified(t *testing.T) {
	d, err := Parse("own.yaml", []byte(own))
	require.NoError(t, err)
	parents := map[string]string{"account": "a/1", "shop": "s"}
	want := event.Key{Source: "src", Kind: "order", ID: "o", Under: event.Under("a/1", "s")}

	e, err := d.Event("src", nil, []byte(`{"id":"e","type":"order.made","context":{"account":"a/1","shop":"s","order":"o","fill":"f"}}`), now)
	require.NoError(t, err)
	require.Equal(t, event.Ref{Key: want, Parents: parents}, e.Entities[0])
	require.Equal(t, event.Key{Source: "src", Kind: "fill", ID: "f"}, e.Entities[2].Key)
	total := want
	total.Kind = "total"
	require.Equal(t, event.Ref{Key: total, Parents: parents}, e.Derived[0])

	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(map[bool]string{true: `{"data":[{"id":"o"}]}`, false: `{"id":"o"}`}[strings.HasSuffix(r.URL.Path, "/orders")]))
	}))
	t.Cleanup(provider.Close)
	client := clientOf(t, d, ClientOptions{}, provider.URL)
	page, err := client.ListPage(t.Context(), ListKey{Source: "src", Kind: "order", Parents: parents}, "", "test")
	require.NoError(t, err)
	require.Equal(t, event.Ref{Key: want, Parents: parents}, page.Items[0].Ref)
	_, err = client.Fetch(t.Context(), page.Items[0].Ref, "test")
	require.NoError(t, err)

	for _, key := range []event.Key{{Source: "src", Kind: "order", ID: "o"}, want} {
		ref, err := d.Ref(key, parents)
		require.NoError(t, err)
		require.Equal(t, event.Ref{Key: want, Parents: parents}, ref)
	}
	ref, err := d.Ref(want, nil)
	require.NoError(t, err)
	require.Equal(t, parents, ref.Parents, "the key names them")
	_, err = d.Ref(want, map[string]string{"account": "a/2", "shop": "s"})
	require.ErrorContains(t, err, "names other parents")
	_, err = d.Ref(event.Key{Source: "src", Kind: "account", ID: "a", Under: "x"}, nil)
	require.Error(t, err)
	_, err = d.Ref(event.Key{Source: "src", Kind: "order", ID: "o"}, map[string]string{"account": "a"})
	require.ErrorContains(t, err, "shop of order")

	// What a key does not say is not asked for, whatever the reference says.
	for _, key := range []event.Key{{Source: "src", Kind: "order", ID: "o"}, {Source: "src", Kind: "order", ID: "o", Under: "a"}} {
		_, err = client.Fetch(t.Context(), event.Ref{Key: key, Parents: parents}, "test")
		class, _ := fate.Of(err)
		require.Equal(t, fate.Permanent, class)
		require.ErrorContains(t, err, "ids of order are unique under these only")
	}
}

// An entity that is named without its parents is the known one, under its own key.
func TestKnownParentsQualifyAKey(t *testing.T) {
	d, err := Parse("own.yaml", []byte(own))
	require.NoError(t, err)
	parents := map[string]string{"account": "a", "shop": "s"}
	for name, c := range map[string]struct {
		known   map[string]string
		want    []event.Ref
		unnamed bool
	}{
		"known":   {parents, []event.Ref{{Key: event.Key{Source: "src", Kind: "order", ID: "o", Under: event.Under("a", "s")}, Parents: parents}}, false},
		"unknown": {nil, []event.Ref{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := d.Event("src", nil, []byte(`{"id":"e","type":"order.made","context":{"order":"o"}}`), now)
			require.NoError(t, err)
			require.True(t, d.NeedsParents(e))
			d.Complete(e, func(k event.Key) (map[string]string, bool) {
				require.Equal(t, event.Key{Source: "src", Kind: "order", ID: "o"}, k)
				return c.known, true
			})
			require.Equal(t, c.want, e.Entities)
			require.Equal(t, c.unnamed, e.Unnamed)
			require.False(t, d.NeedsParents(e))
		})
	}
}
