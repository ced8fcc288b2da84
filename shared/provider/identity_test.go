package provider_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/provider"
)

// A provider that names the account of the key is asked where its definition
// says; an answer without an id proves nothing.
func TestIdentity(t *testing.T) {
	answer, status := `{"id":"acct_1","object":"account"}`, http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/account" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	text, err := os.ReadFile("definitions/stripe.yaml")
	require.NoError(t, err)
	def, err := provider.Parse("stripe.yaml", text)
	require.NoError(t, err)
	require.True(t, def.HasIdentity())
	client, err := provider.NewClient(def, provider.ClientOptions{BaseURL: server.URL + "/v1", Key: "key"})
	require.NoError(t, err)
	defer client.Close()
	id, err := client.Identity(t.Context())
	require.NoError(t, err)
	require.Equal(t, "acct_1", id)
	for _, bad := range []string{`{}`, `{"id":""}`, `{"id":7}`, `[]`} {
		answer = bad
		_, err = client.Identity(t.Context())
		class, _ := fate.Of(err)
		require.Error(t, err, bad)
		require.Equal(t, fate.Transient, class, bad)
	}
	answer, status = `{"error":{"type":"invalid_request_error"}}`, http.StatusUnauthorized
	_, err = client.Identity(t.Context())
	class, _ := fate.Of(err)
	require.Equal(t, fate.Refused, class)
}

// What proves for an entity that the right account is asked is under the same
// root; what is the same in every account proves nothing.
func TestWitnesses(t *testing.T) {
	lemon, err := provider.Builtin("lemon")
	require.NoError(t, err)
	require.False(t, lemon.HasIdentity())
	for _, c := range []struct {
		kind  string
		first []string
	}{
		{"order", []string{"order", "account"}},
		{"positions", []string{"positions", "account"}},
		{"account", []string{"account", "order"}},
		{"identification", []string{"identification", "person"}},
		{"settlement", []string{"settlement"}},
	} {
		same, others := lemon.Witnesses(c.kind)
		require.GreaterOrEqual(t, len(same), len(c.first), c.kind)
		require.Equal(t, c.first, same[:len(c.first)], c.kind)
		require.NotEmpty(t, others, c.kind)
		for _, kind := range append(same, others...) {
			require.NotContains(t, []string{"instrument", "corporate_action", "agreements", "treasury_fee"}, kind, c.kind)
		}
	}
	same, others := lemon.Witnesses("instrument")
	require.Equal(t, []string{"instrument"}, same)
	require.Contains(t, others, "account")
	same, others = lemon.Witnesses("nothing")
	require.Empty(t, same)
	require.Empty(t, others)
}

// A singleton without parents is one for each account: it is asked for
// without any id, empty or not it is no emptied list, and it proves for nothing
// that the right account is asked, nor is it among its own witnesses.
func TestASingletonWithoutParents(t *testing.T) {
	const text = `
provider: acme
signature: {scheme: timestamped-hmac, headers: [Acme-Signature], tolerance: 5m}
envelope: {id: id, type: type, created_at: created_at, time: rfc3339, context: context}
api:
  auth: bearer
  pagination: {style: cursor, items: data, next: pagination.next_cursor, limit: 100}
  errors: message
  probe: /ping
kinds:
  widget: {get: "/widgets/{widget}", list: /widgets}
  settings: {shape: singleton, get: /settings}
events:
  widget: {touches: [widget]}
`
	def, err := provider.Parse("acme.yaml", []byte(text))
	require.NoError(t, err)
	require.True(t, def.Kind("settings").Rootless())
	require.False(t, def.Kind("widget").Rootless())
	require.False(t, def.IsEmptyRoot("settings", []byte(`[]`)))
	for _, kind := range []string{"widget", "settings"} {
		same, others := def.Witnesses(kind)
		require.Equal(t, []string{"widget"}, append(same, others...), kind)
	}

	asked := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"currency":"EUR"}`)
	}))
	defer server.Close()
	client, err := provider.NewClient(def, provider.ClientOptions{BaseURL: server.URL, Key: "key"})
	require.NoError(t, err)
	defer client.Close()
	snap, err := client.Fetch(t.Context(), event.Ref{Key: event.Key{Source: "acme", Kind: "settings", ID: provider.RootID}}, "x")
	require.NoError(t, err)
	require.Equal(t, "/settings", asked)
	require.JSONEq(t, `{"currency":"EUR"}`, string(snap.Raw))
}
