// Package telemetrytest checks what a program exports against what it declares.
package telemetrytest

import (
	"regexp"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/telemetry"
)

// mostNames is how many sources, or kinds, or loops, a test has at most. A test that
// works on hundreds of entities exceeds it if a label names them.
const mostNames = 64

var status = regexp.MustCompile(`^([1-9][0-9][0-9]|error)$`)

// Check fails the test if g has a figure that is not 0 of a metric that the binary
// does not export, which would be missing in production, or a label value that no
// declaration has.
func Check(t testing.TB, g prometheus.Gatherer, binary telemetry.Binary) {
	t.Helper()
	declared := map[string]telemetry.Family{}
	for _, f := range telemetry.Families() {
		declared[f.Name] = f
	}
	families, err := g.Gather()
	require.NoError(t, err)
	for _, got := range families {
		f, ours := declared[got.GetName()]
		if !ours {
			continue // of the Go runtime or of the process
		}
		values := map[string]map[string]bool{}
		for _, m := range got.GetMetric() {
			require.True(t, slices.Contains(f.Binaries, binary) || value(m) == 0, "%s is counted by the %s, which does not export it", f.Name, binary)
			for _, l := range m.GetLabel() {
				if values[l.GetName()] == nil {
					values[l.GetName()] = map[string]bool{}
				}
				values[l.GetName()][l.GetValue()] = true
			}
		}
		for _, l := range f.Labels {
			requireBound(t, f.Name, l, values[l.Name])
		}
	}
}

func requireBound(t testing.TB, metric string, l telemetry.Label, values map[string]bool) {
	t.Helper()
	require.LessOrEqual(t, len(values), mostNames, "%s has too many values of %s", metric, l.Name)
	for v := range values {
		switch {
		case l.Values != nil:
			require.Contains(t, l.Values, v, "%s: %s", metric, l.Name)
		case l.Name == "status":
			require.Regexp(t, status, v, metric)
		}
	}
}

func value(m *dto.Metric) float64 {
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
}
