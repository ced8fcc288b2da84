package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/reconciler"
	"github.com/tarn-sync/tarn/reconciler/outgoing"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/egress"
)

const (
	whsec      = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	otherWhsec = "whsec_AfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// The settings of a webhook are those of its client and of its deliveries; secrets that are
// read again sign from then on.
func TestReceivers(t *testing.T) {
	signatures := make(chan string, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { signatures <- r.Header.Get("webhook-signature") }))
	t.Cleanup(s.Close)
	c := &config.Config{Webhooks: []config.OutgoingWebhook{
		{Name: "billing", URL: config.Secret(s.URL), Secrets: []config.Secret{whsec}, Source: "lemon", Kinds: []string{"order"}, Batch: 2, Concurrency: 3, Loopback: true},
		{Name: "guarded", URL: config.Secret(strings.Replace(s.URL, "http", "https", 1)), Secrets: []config.Secret{whsec}, Source: "stripe", Batch: 1, Concurrency: 8},
	}}
	all, err := newReceivers(c)
	require.NoError(t, err)
	t.Cleanup(all.close)
	require.Equal(t, []reconciler.Webhook{
		{Name: "billing", Source: "lemon", Kinds: []string{"order"}, Batch: 2, Concurrency: 3, Client: all["billing"]},
		{Name: "guarded", Source: "stripe", Batch: 1, Concurrency: 8, Client: all["guarded"]},
	}, all.webhooks(c))
	m := outgoing.Message{ID: "order/a@1", Type: "application/cloudevents+json", Body: []byte("{}")}
	require.Equal(t, outgoing.Accepted, all["billing"].Send(t.Context(), m).Outcome)
	require.Len(t, strings.Fields(<-signatures), 1)
	var refused *egress.Refused
	require.ErrorAs(t, all["guarded"].Send(t.Context(), m).Err, &refused)

	read := &config.Config{Webhooks: []config.OutgoingWebhook{
		{Name: "new", Secrets: []config.Secret{otherWhsec}}, {Name: "billing", Secrets: []config.Secret{otherWhsec, whsec}}, c.Webhooks[1],
	}}
	require.NoError(t, all.reload(read), "a new one needs a restart")
	require.Equal(t, outgoing.Accepted, all["billing"].Send(t.Context(), m).Outcome)
	require.Len(t, strings.Fields(<-signatures), 2)
	read.Webhooks[1].Secrets = []config.Secret{"hunter2"}
	err = all.reload(read)
	require.ErrorContains(t, err, "webhook billing")
	require.NotContains(t, err.Error(), "hunter2")
	c.Webhooks[0].Secrets = nil
	_, err = newReceivers(c)
	require.ErrorContains(t, err, "webhook billing: no secret")
}
