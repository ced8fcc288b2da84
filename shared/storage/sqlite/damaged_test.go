package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

// A field damaged in the file is skipped and written again; a value that cannot be
// skipped is a permanent error, not one to wait for.
func TestWhatCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	s := open(t, path)
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	fields := []string{"parents", "terminal", "terminal_at", "deleted_at", "synced_claim", "synced_at", "verified_at", "last_event_at", "doubted_at", "open_letters"}
	storetest.Damaged(t, s, fields, func(t *testing.T, id, field string) {
		value := "many"
		if field == "parents" {
			value = `{"account":{"id":"cusa_1"}}`
		}
		_, err := db.ExecContext(t.Context(), "UPDATE mirror SET "+field+" = ? WHERE id = ?", value, id)
		require.NoError(t, err)
	})

	arrival := storage.Arrival{Event: &event.Event{Source: "lemon", ID: "evt_1", Type: "x", Entities: []event.Ref{{Key: event.Key{Source: "lemon", Kind: "order", ID: "o1"}}}}}
	_, err = s.Log(t.Context(), []storage.Arrival{arrival})
	require.NoError(t, err)
	for _, edit := range []string{"UPDATE outcomes SET parents = '[1]'", "UPDATE events SET attempts = 'many'"} {
		_, err = db.ExecContext(t.Context(), edit)
		require.NoError(t, err)
		_, err = s.EventByID(t.Context(), "lemon", "evt_1")
		class, _ := fate.Of(err)
		require.Equal(t, fate.Permanent, class, "%s: %v", edit, err)
	}
}
