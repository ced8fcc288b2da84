package sqlite

import (
	"bytes"
	"database/sql"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A program that reads for long makes the write-ahead log grow, which is warned of
// once; when it ends, the log becomes small again.
func TestALongReaderOfAnotherProgram(t *testing.T) {
	s := openStore(t, Options{})
	write := func() {
		require.NoError(t, s.writer.change(t.Context(), func(t *tx) error {
			_, err := t.exec("INSERT INTO audit (id, at, source, kind, event_id, reason, count) VALUES (hex(randomblob(8)), 0, '', '', '', hex(randomblob(2000000)), 1)")
			return err
		}))
	}
	size := func() int64 {
		info, err := os.Stat(s.path + "-wal")
		require.NoError(t, err)
		return info.Size()
	}
	var said bytes.Buffer
	watch := walWatch{path: s.path + "-wal", bound: walKept + 1, log: slog.New(slog.NewTextHandler(&said, nil))}
	write()
	watch.look()
	require.Empty(t, said.String())

	other, err := sql.Open("sqlite", dsn(s.path))
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	reading, err := other.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	var n int
	require.NoError(t, reading.QueryRow("SELECT count(*) FROM audit").Scan(&n))
	for size() < walKept+8<<20 {
		write()
	}
	for range 3 {
		watch.look()
	}
	require.Equal(t, 1, strings.Count(said.String(), "write-ahead log"), said.String())

	require.NoError(t, reading.Rollback())
	for range 3 { // a checkpoint, the beginning, the cut
		write()
	}
	require.LessOrEqual(t, size(), int64(walKept))
	watch.look()
	require.False(t, watch.large)
}
