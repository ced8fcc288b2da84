package sqlite

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"modernc.org/libc"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
)

// onlyWALFile is the log of the one store that is open.
func onlyWALFile(t *testing.T) *walFile {
	t.Helper()
	walFiles.mu.Lock()
	defer walFiles.mu.Unlock()
	require.Len(t, walFiles.of, 1)
	for _, f := range walFiles.of {
		return f
	}
	return nil
}

// A commit whose pages cannot be written is refused as with a disk that is full, and
// the file goes on as if it had not been tried.
func TestACommitThatCannotBeWrittenIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	s := openFile(t, path)
	ref := func(id string) event.Ref { return event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: id}} }
	_, err := s.Claim(t.Context(), ref("first"))
	require.NoError(t, err)

	f := onlyWALFile(t)
	write, full := f.write, true
	require.NoError(t, s.writer.change(t.Context(), func(*tx) error { // in the writer's goroutine
		f.write = func(tls *libc.TLS, file, data uintptr, n int32, offset int64) int32 {
			if full {
				return sqlitelib.SQLITE_FULL
			}
			return write(tls, file, data, n, offset)
		}
		return nil
	}))
	_, err = s.Claim(t.Context(), ref("refused"))
	require.Error(t, err)
	var coded coded
	require.True(t, errors.As(err, &coded), "%v", err)
	require.Equal(t, sqlitelib.SQLITE_FULL, coded.Code()&0xff)
	class, _ := fate.Of(err)
	require.Equal(t, fate.Unavailable, class)
	require.ErrorIs(t, s.Ping(t.Context()), fate.ErrNoWrites)
	_, err = s.Entity(t.Context(), ref("refused").Key)
	require.Error(t, err)

	full = false
	require.NoError(t, s.Ping(t.Context()))
	doc, err := s.Claim(t.Context(), ref("first"))
	require.NoError(t, err)
	require.EqualValues(t, 2, doc.Claim)
	require.NoError(t, s.Close())

	s = openFile(t, path)
	_, err = s.Entity(t.Context(), ref("refused").Key)
	require.Error(t, err)
	doc, err = s.Entity(t.Context(), ref("first").Key)
	require.NoError(t, err)
	require.EqualValues(t, 2, doc.Claim)
	var sound string
	require.NoError(t, s.reads.QueryRow("PRAGMA integrity_check").Scan(&sound))
	require.Equal(t, "ok", sound)
}

// What a confirmed call wrote is in the files, and not in the buffer: another process
// sees it, and a copy of the files has it.
func TestNothingConfirmedStaysInTheBuffer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	s := openFile(t, path)
	for range 3 {
		_, err := s.Claim(t.Context(), order)
		require.NoError(t, err)
	}
	require.Empty(t, onlyWALFile(t).buffer)
	killed := filepath.Join(t.TempDir(), "tarn.db")
	for _, part := range parts[:2] {
		copied(t, path+part, killed+part)
	}
	claim, err := claimIn(t, killed)
	require.NoError(t, err)
	require.EqualValues(t, 3, claim)
}

// claimIn returns the claim of the order in a copy of a file.
func claimIn(t *testing.T, path string) (claim int64, err error) {
	t.Helper()
	c, err := openConn(path, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.close()) }()
	return claim, c.row("SELECT claim FROM mirror").Scan(&claim)
}

// A transaction larger than the page cache writes pages to the log before its end,
// and reads them again.
func TestATransactionLargerThanTheCache(t *testing.T) {
	s := openFile(t, filepath.Join(t.TempDir(), "tarn.db"))
	require.NoError(t, s.writer.change(t.Context(), func(t *tx) error {
		if err := t.script("PRAGMA cache_size = 10"); err != nil {
			return err
		}
		for i := range 500 {
			if _, err := t.exec("INSERT INTO audit (id, at, source, kind, event_id, reason, count) VALUES (hex(randomblob(8)), ?1, '', '', '', hex(randomblob(2000)), 1)", i); err != nil {
				return err
			}
		}
		var n, length int64
		if err := t.row("SELECT count(*), sum(length(reason)) FROM audit").Scan(&n, &length); err != nil {
			return err
		}
		if n != 500 || length != 500*4000 {
			return errors.New("pages were not read as they were written")
		}
		return nil
	}))
	require.Equal(t, 500, countNotes(t, s))
	var sound string
	require.NoError(t, s.reads.QueryRow("PRAGMA integrity_check").Scan(&sound))
	require.Equal(t, "ok", sound)
}
