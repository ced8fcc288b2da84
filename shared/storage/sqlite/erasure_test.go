package sqlite_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/storage"
)

// What is erased of commands is overwritten in the file, and not only left in free parts of
// its pages.
func TestErasedCommandsLeaveNothingInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	s := open(t, path)
	person := event.Key{Source: "stripe", Kind: "customer", ID: "cus_1"}
	for _, key := range []string{"a", "b", "c"} {
		c, err := s.Commands().Ask(t.Context(), &storage.Command{
			ID: storage.CommandID("stripe", key), Source: "stripe", Key: key, Kind: "customer", Op: "update", Lane: person, At: time.Now(),
			Body: []byte(`{"name":"` + strings.Repeat("Ada Lovelace ", 200) + `"}`),
		})
		require.NoError(t, err)
		c.State = storage.CommandDone
		moved, err := s.Commands().Move(t.Context(), c)
		require.NoError(t, err)
		require.True(t, moved)
	}
	_, err := s.Clear(t.Context(), person, "", time.Now())
	require.NoError(t, err)
	require.NoError(t, s.Close()) // which transfers the write-ahead log
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Zero(t, bytes.Count(text, []byte("Lovelace")))
}
