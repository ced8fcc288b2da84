package reconciler

import (
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/telemetry"
)

// A database that times out again and again raises an alert, once, and the call goes on.
func TestAStoreThatTimesOutIsAnAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var raised []alert.Alert
		f := &finder{name: "shop", log: slog.New(slog.DiscardHandler), sparing: slog.New(slog.DiscardHandler), metrics: telemetry.NewMetrics(prometheus.NewRegistry()), alert: func(a alert.Alert) { raised = append(raised, a) }}
		tries := 0
		require.NoError(t, f.persist(t.Context(), "note verified documents", func() error {
			if tries++; tries <= 12 {
				return fate.New(fate.Unavailable, storage.ErrTimeout)
			}
			return nil
		}))
		require.Equal(t, 13, tries)
		require.Len(t, raised, 1)
		require.Equal(t, alert.StoreSlow, raised[0].Kind)
		require.Equal(t, "shop", raised[0].Source)
		require.Contains(t, raised[0].Reason, "note verified documents timed out")
	})
}

// A search for missed events that is held up raises an alert of its source.
func TestASearchThatIsHeldUpIsAnAlert(t *testing.T) {
	var raised []alert.Alert
	r := &Reconciler{Options: Options{Alert: func(a alert.Alert) { raised = append(raised, a) }}}
	r.engine(nil).alarm("shop", "the list of events does not reach back")
	require.Equal(t, []alert.Alert{{Kind: alert.Blocked, Source: "shop", Reason: "the list of events does not reach back"}}, raised)
}
