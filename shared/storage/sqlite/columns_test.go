package sqlite

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A body is a text in the file, for SQLite's JSON functions, unless it is none.
func TestTypesOfBodies(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	for body, want := range map[string]string{
		`{"a":1}`: "text", "": "text", "€": "text", "a\x00b": "text", "\xff": "blob",
	} {
		var kind string
		var got []byte
		require.NoError(t, s.writer.change(t.Context(), func(tx *tx) error {
			return tx.row("SELECT typeof(?1), ?1", text([]byte(body))).Scan(&kind, &got)
		}))
		require.Equal(t, want, kind, "%q", body)
		require.Equal(t, body, string(got))
	}
	var kind string
	require.NoError(t, s.writer.change(t.Context(), func(tx *tx) error {
		return tx.row("SELECT typeof(?1)", text(nil)).Scan(&kind)
	}))
	require.Equal(t, "null", kind)
}

// A query that has found no row has ended, and finds one that is there later.
func TestFind(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "tarn.db"), Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	const query = "SELECT id FROM mirror WHERE kind = ?1"
	require.NoError(t, s.writer.change(t.Context(), func(tx *tx) error {
		row, err := tx.find(query, "order")
		if err != nil || row != nil {
			return fmt.Errorf("found %v, %w", row, err)
		}
		_, err = tx.exec(newSQL, "lemon", "order", "o1", "")
		return err
	}))
	for range 2 {
		var id string
		require.NoError(t, s.writer.change(t.Context(), func(tx *tx) error {
			row, err := tx.find(query, "order")
			if err != nil || row == nil {
				return fmt.Errorf("found %v, %w", row, err)
			}
			return row.Scan(&id)
		}))
		require.Equal(t, "o1", id)
	}
	require.Error(t, s.writer.change(t.Context(), func(tx *tx) error {
		_, err := tx.find("SELECT nothing FROM mirror")
		return err
	}))
	require.NoError(t, s.Ping(t.Context()))
}
