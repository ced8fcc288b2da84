package app

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/config"
)

// The first key for changes comes by a reload as any other key does: the api accepts commands
// from then on, and they must not wait for a new start of the workers.
func TestAReloadBringsTheFirstWriteKey(t *testing.T) {
	settings := func(more string) *config.Config {
		c, err := config.Parse("tarn.yaml", []byte(fmt.Sprintf(`
store: {url: "sqlite:///tmp/tarn.db"}
sources:
  lemon: {provider: lemon, api_url: "http://127.0.0.1:1", api_key: k, webhook_secrets: [0123456789abcdef]%s}
`, more)), nil)
		require.NoError(t, err)
		return c
	}
	sources, clients, err := sources(settings(""))
	require.NoError(t, err)
	t.Cleanup(clients.Close)
	require.Nil(t, sources[0].Writer())
	require.NoError(t, clients.Reload(settings(", write_key: w")))
	require.NotNil(t, sources[0].Writer())
	require.NoError(t, clients.Reload(settings("")))
	require.Nil(t, sources[0].Writer(), "it was taken away")
}
