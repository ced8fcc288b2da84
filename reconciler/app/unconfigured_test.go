package app_test

import (
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/reconciler/app"
	"github.com/tarn-sync/tarn/shared/config"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/unconfigured/unconfiguredtest"
)

func TestWarnsAboutWorkOfAnUnconfiguredSource(t *testing.T) {
	shop := httptest.NewServer(nil)
	defer shop.Close()
	c, err := config.Load(shopSettings(t, redistest.Start(t).URL(), shop.URL), []string{"TARN_HTTP__ADDR=127.0.0.1:0"})
	require.NoError(t, err)
	unconfiguredtest.TellsAtStart(t, "reconciler", c, app.Run)
}
