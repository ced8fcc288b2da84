package provider

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/fate"
)

func TestWebhooks(t *testing.T) {
	c := server(t, ClientOptions{}, pages(map[string]string{
		"limit=100": `{"data":[{"id":"wbh_1","url":"https://a/webhooks/lemon","events":["order.created","order.executed"],"signature_secret":"x"}],"pagination":{"next_cursor":"b"}}`,
		"cursor=b":  `{"data":[{"id":"wbh_2","url":"https://b","events":["*"]},{"id":"wbh_3"}],"pagination":{"next_cursor":null}}`,
	}))
	hooks, err := c.Webhooks(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, []Webhook{
		{URL: "https://a/webhooks/lemon", Types: []string{"order.created", "order.executed"}}, {URL: "https://b", Types: []string{"*"}}, {},
	}, hooks)

	c = server(t, ClientOptions{}, pages(map[string]string{
		"limit=100": `{"data":[],"pagination":{"next_cursor":"b"}}`, "cursor=b": `{"data":[],"pagination":{"next_cursor":"b"}}`,
	}))
	_, err = c.Webhooks(t.Context(), "x")
	require.ErrorContains(t, err, "goes round")
}

func TestWebhookTypes(t *testing.T) {
	types := lemon(t).WebhookTypes()
	require.Len(t, types, 83)
	require.Equal(t, "account.closed", types[0])
	require.Contains(t, types, "trade.taxes_processed")

	silent := server(t, ClientOptions{}, nil)
	silent.def.api.webhooks = webhooksSpec{}
	_, err := silent.Webhooks(t.Context(), "x")
	class, _ := fate.Of(err)
	require.Equal(t, fate.Permanent, class, "a provider that does not list them is not asked")
}

// A webhook that the provider has disabled is known by a value.
func TestDisabledWebhooks(t *testing.T) {
	text := strings.Replace(minimal, "probe: /me", "probe: /me, pagination: {style: whole}, webhooks: {path: /w, url: url, types: types, live: {at: state.on, is: \"true\"}}", 1)
	d, err := Parse("small.yaml", []byte(text))
	require.NoError(t, err)
	c, _ := asked(t, d, `{"data":[{"url":"a","state":{"on":true}},{"url":"b","state":{"on":"true"}},{"url":"c","state":{"on":false}},{"url":"d"},{"url":"e","state":{"on":null}}]}`)
	hooks, err := c.Webhooks(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, []Webhook{{URL: "a"}, {URL: "b"}, {URL: "c", Disabled: true}, {URL: "d", Disabled: true}, {URL: "e", Disabled: true}}, hooks)

	for _, live := range []string{"{at: status}", "{is: enabled}", "{}"} {
		_, err = Parse("small.yaml", []byte(strings.Replace(text, `{at: state.on, is: "true"}`, live, 1)))
		require.ErrorContains(t, err, "api.webhooks.live: wants at and is")
	}
}
