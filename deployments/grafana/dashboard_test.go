package main

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the dashboard")

const file = "dashboards/tarn.json"

// The file that Grafana is given is what the code prints.
func TestTheDashboardIsWritten(t *testing.T) {
	want, err := render()
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(file, want, 0o644)) //nolint:gosec // a page for everyone
		return
	}
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run this test with -update")
}

// Panels fill the grid without overlapping, and each has an id of its own.
func TestPanelsDoNotOverlap(t *testing.T) {
	taken, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range dashboard()["panels"].([]object) {
		title, at := p["title"].(string), p["gridPos"].(object)
		require.False(t, ids[p["id"].(int)], title)
		ids[p["id"].(int)] = true
		require.LessOrEqual(t, at["x"].(int)+at["w"].(int), gridWidth, title)
		for x := at["x"].(int); x < at["x"].(int)+at["w"].(int); x++ {
			for y := at["y"].(int); y < at["y"].(int)+at["h"].(int); y++ {
				require.Empty(t, taken[[2]int{x, y}], "%s lies on it", title)
				taken[[2]int{x, y}] = title
			}
		}
	}
}
