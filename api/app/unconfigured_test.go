package app_test

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/api/app"
	"github.com/tarn-sync/tarn/shared/process"
	"github.com/tarn-sync/tarn/shared/stream"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
	"github.com/tarn-sync/tarn/shared/unconfigured/unconfiguredtest"
)

func TestWarnsAboutWorkOfAnUnconfiguredSource(t *testing.T) {
	c := settings(t, freeAddr(t), redistest.Start(t).URL(), "sqlite://"+t.TempDir()+"/tarn.db")
	unconfiguredtest.TellsAtStart(t, "api", c, app.Run)
}

// Events of a source that only the api has in its settings are accepted, and their work
// is found to wait without a worker.
func TestASourceThatOnlyTheAPIHasIsRemembered(t *testing.T) {
	addr, redis := freeAddr(t), redistest.Start(t).URL()
	c := settings(t, addr, redis, "sqlite://"+t.TempDir()+"/tarn.db")
	stop := running(t, process.New("api", c, io.Discard))
	q, err := stream.Open(t.Context(), stream.Options{URLs: []string{redis}, Shards: c.Shards})
	require.NoError(t, err)
	defer func() { require.NoError(t, q.Close()) }()
	workers := []string{"other"} // what a worker has in its settings
	require.Eventually(t, func() bool {
		former, err := q.Former(t.Context(), workers)
		return err == nil && len(former) == 1 && former[0] == "lemon"
	}, time.Minute, 20*time.Millisecond)
	require.Equal(t, http.StatusOK, send(t, addr, "old-0123456789ab", "evt_1"))
	unconfigured, err := q.Unconfigured(t.Context(), workers)
	require.NoError(t, err)
	require.Len(t, unconfigured, 1)
	require.Equal(t, int64(1), unconfigured[0].Live)
	require.NoError(t, stop())
}
