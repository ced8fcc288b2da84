package sqlite_test

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

// An application writes to the file by a connection of its own.
func TestOutbox(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	open(t, path)
	storetest.RunOutbox(t, func(t *testing.T) (storage.Store, storetest.Insert) {
		own := filepath.Join(t.TempDir(), "tarn.db")
		s, err := sqlite.OpenWatched(t.Context(), own, "watched", statements.note, 2)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s, inserter(t, own)
	})
	requireBounded(t, path)
}

// inserter inserts rows into the outbox of a file.
func inserter(t *testing.T, path string) storetest.Insert {
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return func(t *testing.T, fields map[string]any) {
		t.Helper()
		names, marks, values := "", "", []any{}
		for name, value := range fields {
			if parents, ok := value.(map[string]string); ok {
				text, err := json.Marshal(parents)
				require.NoError(t, err)
				value = string(text)
			}
			if len(values) > 0 {
				names, marks = names+", ", marks+", "
			}
			names, marks, values = names+name, marks+"?", append(values, value)
		}
		_, err := db.ExecContext(t.Context(), "INSERT INTO outbox ("+names+") VALUES ("+marks+")", values...)
		require.NoError(t, err)
	}
}

// A key that is no text can be told from the text of it, and its row can be removed.
func TestAnOutboxRowWhoseKeyIsABlob(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	s := open(t, path)
	insert := inserter(t, path)
	for _, key := range []any{[]byte{0xff, 1}, "ff01"} {
		insert(t, map[string]any{"key": key, "source": "lemon", "kind": "order", "op": "cancel"})
	}
	rows, err := s.OutboxRows(t.Context(), "lemon", 10)
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Equal(t, []string{"ff01", "ff01"}, []string{rows[0].Key, rows[1].Key})
	require.Equal(t, []string{"", "key is a blob: want a text"}, []string{rows[0].Problem, rows[1].Problem})
	require.NoError(t, s.RemoveOutbox(t.Context(), rows[1].Handle))
	left, err := s.OutboxRows(t.Context(), "lemon", 10)
	require.NoError(t, err)
	require.Equal(t, rows[:1], left)
}
