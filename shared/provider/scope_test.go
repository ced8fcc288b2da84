package provider

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// platform has tenants, and what belongs to them or to the platform itself.
const platform = `provider: platform
signature: {scheme: timestamped-hmac, headers: [X-Sig]}
envelope: {id: id, type: type, object: {id: thing, type: of}, ids: {order: order}}
api:
  errors: message
  probe: /me
  events: {path: /events}
  pagination: {style: cursor}
  scope: {id: tenant, header: X-Tenant, of: tenant}
kinds:
  tenant: {get: "/tenants/{tenant}", list: /tenants}
  user: {get: "/tenants/{tenant}/users/{user}", list: "/tenants/{tenant}/users"}
  order: {get: "/orders/{order}", list: /orders, complete: [{at: lines, path: "/orders/{order}/lines"}]}
  line: {get: "/orders/{order}/lines/{line}", list: "/orders/{order}/lines"}
  total: {shape: singleton, get: /total, proof: [sum], every: 1s}
events:
  order: {touches: [order], derived: [total]}
  line: {touches: [line]}
  tenant: {touches: [tenant]}
`

func platformOf(t testing.TB) (scoped, plain *Definition) {
	t.Helper()
	plain, err := Parse("platform.yaml", []byte(platform))
	require.NoError(t, err)
	scoped, err = plain.Scoped()
	require.NoError(t, err)
	return scoped, plain
}

func stripeScoped(t testing.TB) *Definition {
	t.Helper()
	d, err := stripe(t).Scoped()
	require.NoError(t, err)
	return d
}

func keysOf(refs []event.Ref) (keys []string) {
	for _, ref := range refs {
		keys = append(keys, ref.Key.String())
	}
	return keys
}

func TestAnEventNamesWhatBelongsToItsScope(t *testing.T) {
	t.Parallel()
	scoped, plain := platformOf(t)
	for name, c := range map[string]struct {
		body          string
		keys, derived []string
		note          event.Note
	}{
		"of a tenant":          {`{"type":"order.made","thing":"o1","of":"order","tenant":"t_1"}`, []string{"p/order@t_1/o1"}, []string{"p/total@t_1/all"}, 0},
		"of another":           {`{"type":"order.made","thing":"o1","of":"order","tenant":"t_2"}`, []string{"p/order@t_2/o1"}, []string{"p/total@t_2/all"}, 0},
		"the platform's own":   {`{"type":"order.made","thing":"o1","of":"order"}`, []string{"p/order/o1"}, []string{"p/total/all"}, 0},
		"null is none":         {`{"type":"order.made","thing":"o1","of":"order","tenant":null}`, []string{"p/order/o1"}, []string{"p/total/all"}, 0},
		"under an order":       {`{"type":"line.made","thing":"l1","of":"line","order":"o1","tenant":"t_1"}`, []string{"p/line@t_1/l1"}, nil, 0},
		"whose order is known": {`{"type":"line.made","thing":"l1","of":"line","tenant":"t_1"}`, []string{"p/line@t_1/l1"}, nil, 0},
		"a tenant":             {`{"type":"tenant.joined","tenant":"t_1"}`, []string{"p/tenant/t_1"}, nil, 0},
		"a number":             {`{"type":"order.made","thing":"o1","of":"order","tenant":17}`, []string{"p/order@17/o1"}, []string{"p/total@17/all"}, 0},
		"a fraction":           {`{"type":"order.made","thing":"o1","of":"order","tenant":1.5}`, nil, nil, event.ScopeUnusable},
		"an object":            {`{"type":"order.made","thing":"o1","of":"order","tenant":{}}`, nil, nil, event.ScopeUnusable},
		"empty":                {`{"type":"order.made","thing":"o1","of":"order","tenant":""}`, nil, nil, event.ScopeUnusable},
		"with a slash":         {`{"type":"order.made","thing":"o1","of":"order","tenant":"a/b"}`, nil, nil, event.ScopeUnusable},
		"a step of a path":     {`{"type":"order.made","thing":"o1","of":"order","tenant":".."}`, nil, nil, event.ScopeUnusable},
		"a second header":      {`{"type":"order.made","thing":"o1","of":"order","tenant":"a\r\nAuthorization: x"}`, nil, nil, event.ScopeUnusable},
		"a comma":              {`{"type":"order.made","thing":"o1","of":"order","tenant":"a,b"}`, nil, nil, event.ScopeUnusable},
		"a letter of no ASCII": {`{"type":"order.made","thing":"o1","of":"order","tenant":"ä"}`, nil, nil, event.ScopeUnusable},
		"of 1 KB":              {`{"type":"order.made","thing":"o1","of":"order","tenant":"` + strings.Repeat("a", 1024) + `"}`, nil, nil, event.ScopeUnusable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := scoped.Event("p", nil, []byte(strings.Replace(c.body, "{", `{"id":"e_1",`, 1)), now)
			require.NoError(t, err)
			require.Equal(t, c.keys, keysOf(e.Entities))
			require.Equal(t, c.derived, keysOf(e.Derived))
			require.Equal(t, c.note, e.Note)
			again, err := scoped.Stored(e)
			require.NoError(t, err)
			require.Equal(t, e, again)
		})
	}
	e, err := plain.Event("p", nil, []byte(`{"id":"e_1","type":"order.made","thing":"o1","of":"order","tenant":"a/b"}`), now)
	require.NoError(t, err)
	require.Equal(t, []string{"p/order/o1"}, keysOf(e.Entities), "a source that is not scoped reads as ever")
	require.Nil(t, plain.ScopeKind())
	_, err = scoped.Event("p", nil, []byte(`{"id":"e_1","type":"order.made","thing":"o1","of":"order","tenant":"t_1","tenant":"t_2"}`), now)
	require.ErrorContains(t, err, "tenant")
}

// What a scoped source asks for goes with the header of the key, and of nothing else.
func TestRequestsNameTheScope(t *testing.T) {
	t.Parallel()
	scoped, plain := platformOf(t)
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tenant, sent := r.Header["X-Tenant"]
		asked = append(asked, fmt.Sprint(strings.TrimPrefix(r.URL.Path, "/v1"), " ", strings.Join(tenant, "+"), sent))
		w.Header().Set("Content-Type", "application/json")
		switch {
		case len(tenant) > 0 && tenant[0] == "t_gone":
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"message":"no"}`))
		case strings.HasSuffix(r.URL.Path, "/total"):
			_, _ = w.Write([]byte(`{"sum":1}`))
		case strings.HasSuffix(r.URL.Path, "s"):
			_, _ = w.Write([]byte(`{"data":[{"id":"o1","type":"order.made","thing":"o1","of":"order"}]}`))
		default:
			_, _ = w.Write([]byte(`{"id":"` + r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:] + `","lines":{"data":[],"has_more":true}}`))
		}
	}))
	t.Cleanup(s.Close)
	c := clientOf(t, scoped, ClientOptions{}, s.URL)
	fetch := func(ref event.Ref) error {
		asked = nil
		_, err := c.Fetch(t.Context(), ref, "x")
		return err
	}
	order := func(parents map[string]string) event.Ref { return scoped.Kind("order").Ref("p", "o1", parents) }
	require.NoError(t, fetch(order(map[string]string{"tenant": "t_1"})))
	require.Equal(t, []string{"/orders/o1 t_1true", "/orders/o1/lines t_1true"}, asked, "also of a list inside it")
	require.NoError(t, fetch(event.Ref{Key: order(map[string]string{"tenant": "t_1"}).Key}))
	require.Equal(t, "/orders/o1 t_1true", asked[0], "the key alone says it")
	require.NoError(t, fetch(order(nil)))
	require.Equal(t, "/orders/o1 false", asked[0])
	require.NoError(t, fetch(scoped.Kind("tenant").Ref("p", "t_1", nil)))
	require.Equal(t, []string{"/tenants/t_1 false"}, asked, "a scope itself is the platform's")
	require.NoError(t, fetch(scoped.Kind("user").Ref("p", "u1", map[string]string{"tenant": "t_1"})))
	require.Equal(t, []string{"/tenants/t_1/users/u1 false"}, asked, "whose path names it")
	require.NoError(t, fetch(scoped.Kind("total").Ref("p", RootID, map[string]string{"tenant": "t_1"})))
	require.Equal(t, []string{"/total t_1true"}, asked)

	bad := order(nil)
	bad.Key.Under = event.Under("a\r\nAuthorization: x")
	requireClass(t, fetch(bad), fate.Permanent, 0)
	require.Empty(t, asked)
	bad.Key.Under = event.Under("a", "b")
	requireClass(t, fetch(bad), fate.Permanent, 0)
	require.Empty(t, asked)
	_, err := c.ListPage(t.Context(), ListKey{Source: "p", Kind: "order", Parents: map[string]string{"tenant": "a\nb"}}, "", "x")
	requireClass(t, err, fate.Permanent, 0)
	require.Empty(t, asked)
	unscoped := clientOf(t, plain, ClientOptions{}, s.URL)
	_, err = unscoped.Fetch(t.Context(), order(map[string]string{"tenant": "t_1"}), "x")
	requireClass(t, err, fate.Permanent, 0)
	require.Empty(t, asked, "without the header it would be gone")

	page, err := c.ListPage(t.Context(), ListKey{Source: "p", Kind: "order", Parents: map[string]string{"tenant": "t_1"}}, "", "x")
	require.NoError(t, err)
	require.Equal(t, "p/order@t_1/o1", page.Items[0].Ref.Key.String())
	require.Equal(t, map[string]string{"tenant": "t_1"}, page.Items[0].Ref.Parents)
	require.Equal(t, []string{"/orders t_1true"}, asked)

	err = fetch(order(map[string]string{"tenant": "t_gone"}))
	requireClass(t, err, fate.Refused, http.StatusForbidden)
	require.ErrorContains(t, err, "tenant t_gone: HTTP 403")
	require.NoError(t, c.Probe(t.Context()))
	require.True(t, fate.Is(c.ProbeScope(t.Context(), "t_gone"), fate.Refused))
}

// An event of a scope's list is of that scope, whether it says so or not.
func TestListedEventsAreOfTheScopeThatWasAsked(t *testing.T) {
	t.Parallel()
	scoped, _ := platformOf(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("X-Tenant") == "" {
			_, _ = w.Write([]byte(`{"data":[{"id":"e_0","type":"order.made","thing":"o1","of":"order"}]}`))
			return
		}
		_, _ = w.Write([]byte(`{"data":[
			{"id":"e_1","type":"order.made","thing":"o1","of":"order"},
			{"id":"e_2","type":"order.made","thing":"o1","of":"order","tenant":"t_1"},
			{"id":"e_3","type":"order.made","thing":"o1","of":"order","tenant":"t_2"}]}`))
	}))
	t.Cleanup(s.Close)
	c := clientOf(t, scoped, ClientOptions{}, s.URL)
	page, err := c.EventsPage(t.Context(), EventsKey{Source: "p", Scope: "t_1"}, time.Time{}, "", "x")
	require.NoError(t, err)
	require.Len(t, page.Events, 2)
	for _, e := range page.Events {
		require.Equal(t, []string{"p/order@t_1/o1"}, keysOf(e.Entities))
		again, err := scoped.Stored(e)
		require.NoError(t, err)
		require.Equal(t, e, again, "the log has what the payload lacks")
	}
	require.Equal(t, map[string]string{"api.scope": "t_1"}, page.Events[0].Given)
	require.Nil(t, page.Events[1].Given, "as a webhook brings it")
	require.Len(t, page.Unread, 1)
	require.ErrorContains(t, page.Unread[0], `tenant is "t_2" in the list of tenant "t_1"`)
	page, err = c.EventsPage(t.Context(), EventsKey{Source: "p"}, time.Time{}, "", "x")
	require.NoError(t, err)
	require.Equal(t, []string{"p/order/o1"}, keysOf(page.Events[0].Entities))
}

func TestWhatIsUnderAScope(t *testing.T) {
	t.Parallel()
	scoped, plain := platformOf(t)
	require.Equal(t, []string{"user"}, nameEach(plain.Under(plain.Kind("tenant"))))
	require.Equal(t, []string{"user", "order", "total"}, nameEach(scoped.Under(scoped.Kind("tenant"))))
	require.Equal(t, []string{"tenant", "order", "total"}, nameEach(scoped.Roots()))
	require.Equal(t, []string{"line"}, nameEach(scoped.Under(scoped.Kind("order"))))
	require.Equal(t, "tenant", scoped.ScopeKind().Name)

	ref := scoped.Kind("line").Ref("p", "l1", map[string]string{"tenant": "t_1"})
	require.True(t, scoped.LacksParents(ref), "a scope is not the parent that its path needs")
	ref, err := scoped.Ref(ref.Key, map[string]string{"order": "o1"})
	require.NoError(t, err)
	require.False(t, scoped.LacksParents(ref))
	require.Equal(t, map[string]string{"tenant": "t_1", "order": "o1"}, ref.Parents)
	_, err = scoped.Ref(ref.Key, map[string]string{"order": "o1", "tenant": "t_2"})
	require.ErrorContains(t, err, "names other parents")
	require.Equal(t, "t_1", scoped.ScopeOf(ref))
	require.Equal(t, "t_1", scoped.ScopeOf(scoped.Kind("user").Ref("p", "u", map[string]string{"tenant": "t_1"})))
	require.Equal(t, "t_1", scoped.ScopeOf(scoped.Kind("tenant").Ref("p", "t_1", nil)))
	require.Empty(t, plain.ScopeOf(ref))
	require.False(t, scoped.Kind("user").InScopes())
	require.True(t, scoped.Kind("line").HasParent("tenant") && scoped.Kind("line").HasParent("order"))
	require.False(t, plain.Kind("line").HasParent("tenant"))
}

func TestDefinitionsOfScopes(t *testing.T) {
	t.Parallel()
	scope := "scope: {id: tenant, header: X-Tenant, of: tenant}"
	for name, c := range map[string]struct{ old, new, err string }{
		"no id":            {scope, "scope: {header: X-Tenant, of: tenant}", "platform.yaml:9: api.scope.id: is missing: want the place"},
		"two places":       {scope, "scope: {id: [a, b], header: X-Tenant, of: tenant}", "api.scope.id: is a list"},
		"no header":        {scope, "scope: {id: tenant, of: tenant}", "api.scope.header: is missing"},
		"no kind":          {scope, "scope: {id: tenant, header: X-Tenant}", "api.scope.of: is missing"},
		"an unknown key":   {scope, "scope: {id: tenant, header: X-Tenant, of: tenant, as: x}", "api.scope.as: is unknown here: want one of id, of, header"},
		"no mapping":       {scope, "scope: tenant", "api.scope: is"},
		"of no kind":       {scope, "scope: {id: tenant, header: X-Tenant, of: shop}", `api.scope.of: is "shop", which is no kind: want the kind whose ids the scopes are`},
		"of one unlisted":  {`tenant: {get: "/tenants/{tenant}", list: /tenants}`, `tenant: {get: "/tenants/{tenant}"}`, `api.scope.of: is "tenant", which has no list, so that no sweep would know its scopes: give kinds.tenant a list`},
		"of one under":     {scope, "scope: {id: tenant, header: X-Tenant, of: user}", `api.scope.of: is "user", whose list is under {tenant}`},
		"no header's name": {scope, `scope: {id: tenant, header: "X Tenant", of: tenant}`, `"X Tenant" is no name of a header`},
		"the key's":        {scope, "scope: {id: tenant, header: authorization, of: tenant}", `api.scope.header: is "authorization", which requests have for another reason`},
		"the host's":       {scope, "scope: {id: tenant, header: Host, of: tenant}", "for another reason"},
		"the length's":     {scope, "scope: {id: tenant, header: content-length, of: tenant}", "for another reason"},
		"that of auth":     {"errors: message", "errors: message\n  auth: {header: x-tenant}", "which auth sets to the key"},
		"that of all":      {"errors: message", "errors: message\n  headers: {x-tenant: a}", "which api.headers sets for all requests"},
		"ids of parents":   {`lines/{line}", list`, `lines/{line}", ids: parents, list`, "the ids of line are unique under their parents only (ids: parents), which does not go with a scope"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, platform, c.old)
			_, err := Parse("platform.yaml", []byte(strings.Replace(platform, c.old, c.new, 1)))
			require.ErrorContains(t, err, c.err)
		})
	}
	_, err := example(t, "standard.yaml").Scoped()
	require.ErrorContains(t, err, "has no scopes: leave scoped out, or say in the definition, under api.scope,")
}

// Stripe's events of connected accounts, as snapshots and thin.
func TestStripeConnect(t *testing.T) {
	t.Parallel()
	d := stripeScoped(t)
	for name, c := range map[string]struct {
		body, key, path, header string
	}{
		"snapshot": {`{"id":"evt_1","created":1700000000,"type":"customer.created","livemode":true,"account":"acct_1","data":{"object":{"id":"cus_1","object":"customer"}}}`,
			"s/customer@acct_1/cus_1", "/customers/cus_1", "acct_1"},
		"own": {`{"id":"evt_1","created":1700000000,"type":"customer.created","livemode":true,"data":{"object":{"id":"cus_1","object":"customer"}}}`,
			"s/customer/cus_1", "/customers/cus_1", ""},
		"thin": {`{"id":"evt_2","object":"v2.core.event","created":"2026-01-01T00:00:00Z","type":"v1.customer.created","livemode":true,"context":"acct_1","snapshot_event":"evt_1","related_object":{"id":"cus_1","type":"customer"}}`,
			"s/customer@acct_1/cus_1", "/customers/cus_1", "acct_1"},
		"balance": {`{"id":"evt_1","created":1700000000,"type":"balance.available","livemode":true,"account":"acct_1","data":{"object":{"object":"balance"}}}`,
			"s/balance@acct_1/all", "/balance", "acct_1"},
		"tax id": {`{"id":"evt_1","created":1700000000,"type":"customer.tax_id.created","livemode":true,"account":"acct_1","data":{"object":{"id":"txi_1","object":"tax_id","customer":"cus_1"}}}`,
			"s/tax_id@acct_1/txi_1", "/customers/cus_1/tax_ids/txi_1", "acct_1"},
		"account": {`{"id":"evt_1","created":1700000000,"type":"account.updated","livemode":true,"account":"acct_1","data":{"object":{"id":"acct_1","object":"account"}}}`,
			"s/account/acct_1", "/accounts/acct_1", ""},
		"a person of the account, thin": {`{"id":"evt_2","object":"v2.core.event","created":"2026-01-01T00:00:00Z","type":"v1.person.updated","livemode":true,"context":"acct_1","snapshot_event":"evt_1","related_object":{"id":"person_1","type":"person"}}`,
			"s/person/person_1", "/accounts/acct_1/persons/person_1", ""},
		"deauthorized": {`{"id":"evt_1","created":1700000000,"type":"account.application.deauthorized","livemode":true,"account":"acct_1","data":{"object":{"id":"ca_1","object":"application"}}}`,
			"s/account/acct_1", "/accounts/acct_1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, err := d.Event("s", nil, []byte(c.body), now)
			require.NoError(t, err)
			require.NotEmpty(t, e.Entities)
			require.Equal(t, c.key, e.Entities[0].Key.String())
			path, err := d.Request(e.Entities[0])
			require.NoError(t, err)
			require.Equal(t, c.path, path)
			name, value := d.ScopeHeader(e.Entities[0])
			require.Equal(t, c.header, value)
			require.Equal(t, c.header != "", name == "Stripe-Account")
		})
	}
}

// FuzzScope: whatever stands in the place of the scope, no request is made outside it,
// and its header holds nothing else.
func FuzzScope(f *testing.F) {
	for _, v := range []string{`"t_1"`, `7`, `"a\r\nb"`, `""`, `null`, `"a/b"`, `{}`, `1e3`, `"\ud800"`, `"` + strings.Repeat("x", 300) + `"`} {
		f.Add(v)
	}
	d, _ := platformOf(f)
	f.Fuzz(func(t *testing.T, scope string) {
		e, err := d.Event("p", nil, []byte(`{"id":"e_1","type":"order.made","thing":"o1","of":"order","tenant":`+scope+`}`), now)
		if err != nil || e.Note == event.ScopeUnusable {
			return
		}
		again, err := d.Stored(e)
		require.NoError(t, err)
		require.Equal(t, e, again)
		require.Len(t, e.Entities, 1)
		name, value := d.ScopeHeader(e.Entities[0])
		if value == "" {
			require.Empty(t, e.Entities[0].Key.Under)
			return
		}
		require.Equal(t, "X-Tenant", name)
		require.NoError(t, CheckScope(value))
	})
}
