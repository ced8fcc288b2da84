package sqlite_test

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestConformance runs the suite, and asserts of every statement that it reads
// no more than it answers. Scans are of few documents a step, so that they have
// many.
func TestConformance(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	open(t, path)
	storetest.Run(t, func(t *testing.T) storage.Store {
		s, err := sqlite.OpenWatched(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), "watched", statements.note, 2)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	})
	requireBounded(t, path)
}

func open(t testing.TB, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}
