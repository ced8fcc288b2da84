package sqlite_test

import (
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

func TestOldCommandsAreRemoved(t *testing.T) {
	storetest.RunRetention(t, func(t *testing.T) (storage.Store, storetest.Age) {
		var clock atomic.Pointer[time.Time] // the store looks at it by itself too
		clock.Store(&time.Time{})
		s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), sqlite.Options{
			Retention: storage.Retention{Commands: storetest.CommandsKept}, Now: func() time.Time { return *clock.Load() }, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s, func(t *testing.T, now time.Time) {
			t.Helper()
			clock.Store(&now)
			require.NoError(t, s.Age(t.Context()))
		}
	})
}
