package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/api"
	"github.com/tarn-sync/tarn/shared/config"
)

// The api shows of a webhook what its settings say is sent.
func TestWebhooksAreThoseOfTheSettings(t *testing.T) {
	c := &config.Config{Webhooks: []config.OutgoingWebhook{{Name: "ledger", Source: "lemon", Kinds: []string{"order"}, Types: []string{"command"}}}}
	require.Equal(t, []api.OutgoingWebhook{{Name: "ledger", Source: "lemon", Kinds: []string{"order"}, Types: []string{"command"}}}, webhooks(c))
}
