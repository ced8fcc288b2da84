package process

import (
	"io"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/alert"
	"github.com/tarn-sync/tarn/shared/config"
)

// A process exports the metrics of its binary. Alerts begin at 0, so that the first of a
// kind is an increase, and series of shards are off unless they are asked for.
func TestMetricsOfAProcess(t *testing.T) {
	for name, c := range map[string]struct {
		settings      string
		shards        bool
		paused, leaps int
	}{
		"api":      {"", false, 0, 0},
		"worker-1": {"telemetry: {shard_series: true}", true, 1, 1},
		"test":     {"telemetry: {shard_series: false}", false, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			settings, err := config.Parse("tarn.yaml", []byte(`
store: {url: "sqlite:///tmp/tarn.db"}
sources: {lemon: {provider: lemon, api_url: "http://127.0.0.1:1", api_key: k, webhook_secrets: [0123456789abcdef]}}
`+c.settings), nil)
			require.NoError(t, err)
			p := New(name, settings, io.Discard)
			require.Equal(t, c.shards, p.Metrics.ShardSeries)
			p.Metrics.SourcePaused.WithLabelValues("lemon").Set(1)
			n, err := testutil.GatherAndCount(p.Gatherer, "tarn_source_paused", "tarn_resyncs_total")
			require.NoError(t, err)
			require.Equal(t, c.paused+c.leaps, n)

			_, flush := p.Alerts()
			flush()
			n, err = testutil.GatherAndCount(p.Gatherer, "tarn_alerts_total")
			require.NoError(t, err)
			require.Equal(t, 2*len(alert.Kinds()), n, "of the source, and of none")
		})
	}
}
