package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
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

// Where there is a reader at every moment, though none reads for long, the write-ahead log
// stays within its bound all the same.
func TestReadersThatRelieveEachOther(t *testing.T) {
	// One that takes as long as a commit or two, and ends within walPatience on a slow machine.
	const reads = "WITH RECURSIVE n(i) AS (SELECT count(*) FROM audit WHERE id = '' UNION ALL SELECT i+1 FROM n WHERE i < 20000) SELECT count(*) FROM n"
	for name, c := range map[string]struct {
		bound  int64
		larger bool
	}{"bounded": {walKept + 8<<20, false}, "the control": {1 << 40, true}} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Options{})
			s.writer.wal.bound, s.writer.wal.pause = c.bound, 0
			write := func() {
				require.NoError(t, s.writer.change(t.Context(), func(t *tx) error {
					_, err := t.exec("INSERT INTO audit (id, at, source, kind, event_id, reason, count) VALUES (hex(randomblob(8)), 0, '', '', '', hex(randomblob(200000)), 1)")
					return err
				}))
			}
			write()
			// Each reader begins before the one before it ends.
			ctx, cancel := context.WithCancel(t.Context())
			var readers sync.WaitGroup
			first := make(chan struct{})
			readers.Go(func() {
				begin := func() *sql.Tx {
					reading, err := s.reads.BeginTx(t.Context(), nil)
					assert.NoError(t, err)
					var n int
					assert.NoError(t, reading.QueryRow(reads).Scan(&n))
					return reading
				}
				now := begin()
				close(first)
				for ctx.Err() == nil {
					next := begin()
					assert.NoError(t, now.Rollback())
					now = next
				}
				assert.NoError(t, now.Rollback())
			})
			<-first
			var most int64
			for range 300 {
				write()
				info, err := os.Stat(s.path + "-wal")
				require.NoError(t, err)
				most = max(most, info.Size())
			}
			cancel()
			readers.Wait()
			if c.larger {
				require.Greater(t, most, int64(2*walKept))
			} else {
				require.Less(t, most, int64(2*walKept))
			}
		})
	}
}
