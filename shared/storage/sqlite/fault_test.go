//go:build fault

package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

// The negative controls take one guard away. Without them the same build keeps it.

func TestFaultClaimsOff(t *testing.T) {
	storetest.Without(t, "claims-off", func() {
		require.NotEmpty(t, storetest.FenceViolations(t, open(t, filepath.Join(t.TempDir(), "tarn.db"))))
	})
}

func TestFaultClaimsOn(t *testing.T) {
	require.Empty(t, storetest.FenceViolations(t, open(t, filepath.Join(t.TempDir(), "tarn.db"))))
}

// A write under the claim of a marker is refused by the marker alone.
func TestFaultMarkersOff(t *testing.T) {
	storetest.Without(t, "markers-off", func() {
		require.NotEmpty(t, storetest.MarkerViolations(t, open(t, filepath.Join(t.TempDir(), "tarn.db"))))
	})
}

func TestFaultMarkersOn(t *testing.T) {
	require.Empty(t, storetest.MarkerViolations(t, open(t, filepath.Join(t.TempDir(), "tarn.db"))))
}

// A batch takes the place of another by the unique position alone.
func TestFaultFeedFenceOff(t *testing.T) {
	storetest.Without(t, "feed-fence-off", func() {
		require.Positive(t, storetest.PositionViolations(t, open(t, filepath.Join(t.TempDir(), "tarn.db"))))
	})
}

func TestFaultFeedFenceOn(t *testing.T) {
	require.Zero(t, storetest.PositionViolations(t, open(t, filepath.Join(t.TempDir(), "tarn.db"))))
}
