package sqlite

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

var order = event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}}

func opened(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func copied(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(to, b, 0o600))
}

// What is written to a file that was removed is gone with the process. So no
// write is confirmed from then on.
func TestNothingIsWrittenToAFileThatWasReplaced(t *testing.T) {
	for _, part := range []string{"", "-wal", "-shm"} {
		t.Run("removed"+part, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tarn.db")
			s := opened(t, path)
			_, err := s.Claim(t.Context(), order)
			require.NoError(t, err)
			require.NoError(t, os.Remove(path+part))
			_, err = s.Claim(t.Context(), order)
			require.ErrorIs(t, err, storage.ErrReplaced)
			class, _ := fate.Of(err)
			require.Equal(t, fate.Unavailable, class, "nothing is parked for it")
			require.ErrorIs(t, s.Ping(t.Context()), storage.ErrReplaced)
			require.NoFileExists(t, path+part, "no reader makes another")
		})
	}
	t.Run("another in its place", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tarn.db")
		s := opened(t, path)
		require.NoError(t, os.Rename(path, path+".away"))
		copied(t, path+".away", path)
		_, err := s.Claim(t.Context(), order)
		require.ErrorIs(t, err, storage.ErrReplaced)
		require.ErrorContains(t, err, "another file lies at "+path)
		require.NoError(t, os.Rename(path+".away", path))
		_, err = s.Claim(t.Context(), order)
		require.NoError(t, err, "it is the one that was opened again")
	})
	t.Run("by a link that leads elsewhere", func(t *testing.T) {
		dir := t.TempDir()
		link := filepath.Join(dir, "tarn.db")
		require.NoError(t, opened(t, filepath.Join(dir, "one.db")).Close())
		require.NoError(t, opened(t, filepath.Join(dir, "two.db")).Close())
		require.NoError(t, os.Symlink("one.db", link))
		s := opened(t, link)
		_, err := s.Claim(t.Context(), order)
		require.NoError(t, err)
		require.NoError(t, os.Remove(link))
		require.NoError(t, os.Symlink("two.db", link))
		_, err = s.Claim(t.Context(), order)
		require.ErrorIs(t, err, storage.ErrReplaced)
	})
}

// killed leaves in dir what a killed process leaves there: the main file as it
// was, and a write-ahead log that is newer.
func killed(t *testing.T, path, dir string) {
	t.Helper()
	for _, part := range []string{"", "-wal", ".lock"} {
		copied(t, path+part, filepath.Join(dir, "tarn.db"+part))
	}
}

// SQLite would lay the newer log over the older copy without a word.
func TestAnOlderCopyBesideANewerLogIsRefused(t *testing.T) {
	from, dir := filepath.Join(t.TempDir(), "tarn.db"), t.TempDir()
	to := filepath.Join(dir, "tarn.db")
	first := opened(t, from)
	_, err := first.Claim(t.Context(), order)
	require.NoError(t, err)
	require.NoError(t, first.Close())
	copied(t, from, filepath.Join(dir, "backup"))

	s := opened(t, from)
	_, err = s.Claim(t.Context(), order)
	require.NoError(t, err)
	killed(t, from, dir)
	doc, err := opened(t, to).Claim(t.Context(), order)
	require.NoError(t, err, "a kill alone is none")
	require.EqualValues(t, 3, doc.Claim)

	dir2 := t.TempDir()
	killed(t, from, dir2)
	to = filepath.Join(dir2, "tarn.db")
	copied(t, filepath.Join(dir, "backup"), to)
	_, err = Open(t.Context(), to, Options{})
	require.ErrorContains(t, err, "is an older copy")
	require.ErrorContains(t, err, "remove "+to+"-wal")
	class, _ := fate.Of(err)
	require.Equal(t, fate.Permanent, class, "waiting would not help")

	require.NoError(t, os.Remove(to+"-wal"))
	doc, err = opened(t, to).Claim(t.Context(), order)
	require.NoError(t, err, "restored as it should be")
	require.EqualValues(t, 2, doc.Claim)
}

func TestAnOlderCopyPutOverAnOpenFileIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	require.NoError(t, opened(t, path).Close())
	copied(t, path, path+".backup")
	s := opened(t, path)
	_, err := s.Claim(t.Context(), order)
	require.NoError(t, err)
	copied(t, path+".backup", path)
	require.NoError(t, s.writer.change(t.Context(), func(*tx) error { s.writer.file.raised = time.Time{}; return nil }), "a minute passes")
	_, err = s.Claim(t.Context(), order)
	require.ErrorIs(t, err, storage.ErrReplaced)
	require.ErrorContains(t, err, "an older copy")
}

// The fleet is no reason for older programs to refuse the file.
func TestTheFleetNeedsNoNewerSchema(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "tarn.db"))
	_, err := s.FoundFleet(t.Context(), storage.Fleet{ID: "a"})
	require.NoError(t, err)
	var version int
	require.NoError(t, s.reads.QueryRow("PRAGMA user_version").Scan(&version))
	require.Equal(t, schemaVersion, version)
	require.NotContains(t, steps[schemaVersion-1], "fleet")
}

// The write-ahead log has the last writes. A new file would take its name, and
// the log would be laid over it or lost.
func TestAFileThatIsGoneBesideItsLogIsRefused(t *testing.T) {
	from, dir := filepath.Join(t.TempDir(), "tarn.db"), t.TempDir()
	to := filepath.Join(dir, "tarn.db")
	s := opened(t, from)
	_, err := s.Claim(t.Context(), order)
	require.NoError(t, err)
	killed(t, from, dir)
	require.NoError(t, os.Rename(to, to+".away"))

	_, err = Open(t.Context(), to, Options{})
	require.ErrorContains(t, err, to+" is gone")
	require.ErrorContains(t, err, "put the file back")
	require.NotContains(t, err.Error(), "older copy")
	class, _ := fate.Of(err)
	require.Equal(t, fate.Permanent, class, "waiting would not help")
	require.NoFileExists(t, to)

	require.NoError(t, os.Rename(to+".away", to))
	doc, err := opened(t, to).Claim(t.Context(), order)
	require.NoError(t, err)
	require.EqualValues(t, 2, doc.Claim, "nothing is lost")
}
