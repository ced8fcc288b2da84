package sqlite

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
)

func TestAFileOfAnEarlierVersionIsBroughtUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = db.Exec(tables + `
INSERT INTO mirror (source, kind, id, raw, status, terminal, claim, synced_claim, synced_at, verified_at)
VALUES ('lemon', 'order', 'bord_1', '{}', 'executed', 1, 3, 3, 1000, 2000);
PRAGMA user_version = 1`)
	require.NoError(t, err)
	require.NoError(t, db.Close())

	s, err := Open(t.Context(), path, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	doc, err := s.Entity(t.Context(), event.Key{Source: "lemon", Kind: "order", ID: "bord_1"})
	require.NoError(t, err)
	require.EqualValues(t, 3, doc.Claim)
	require.Equal(t, time.UnixMilli(1000).UTC(), doc.TerminalAt, "terminal since it was last synced, as far as is known")
	tasks, err := s.OpenLetters(t.Context())
	require.NoError(t, err)
	require.Empty(t, tasks)
}
