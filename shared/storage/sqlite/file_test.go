package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-sync/tarn/shared/event"
	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/sqlite"
	"github.com/tarn-sync/tarn/shared/storage/storetest"
)

var ref = event.Ref{Key: event.Key{Source: "lemon", Kind: "order", ID: "bord_1"}}

// unfenced is a store that forgets the claim filter: it reads the newest claim
// and writes with that. It must fail the suite, or the suite proves nothing.
type unfenced struct{ storage.Store }

func (u unfenced) Write(ctx context.Context, w *storage.Write) (storage.Written, error) {
	doc, err := u.Entity(ctx, w.Ref.Key)
	if err != nil {
		return storage.Written{}, err
	}
	naive := *w
	naive.Claim = doc.Claim
	return u.Store.Write(ctx, &naive)
}

func TestAStoreWithoutTheFenceIsFoundOut(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "tarn.db"))
	require.NotEmpty(t, storetest.FenceViolations(t, unfenced{s}))
}

func TestWhatWasWrittenIsThereAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	s := open(t, path)
	_, err := s.Claim(t.Context(), ref)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	doc, err := open(t, path).Claim(t.Context(), ref)
	require.NoError(t, err)
	require.EqualValues(t, 2, doc.Claim)
}

func TestANewerFileIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	require.NoError(t, open(t, path).Close())
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = db.Exec("PRAGMA user_version = 99")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = sqlite.Open(t.Context(), path, sqlite.Options{})
	require.ErrorContains(t, err, "has schema version 99, this program knows up to 21: use the newer program")
}

func TestAFileThatIsNoDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("not a database ", 100)), 0o600))
	_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.ErrorContains(t, err, path)
}

// TestBusyIsUnavailable has another program hold the file without a turn.
func TestBusyIsUnavailable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	s := open(t, path)
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	defer db.Close()
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)

	_, err = s.Claim(t.Context(), ref)
	class, _ := fate.Of(err)
	require.Equal(t, fate.Unavailable, class, err)

	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	doc, err := s.Claim(t.Context(), ref)
	require.NoError(t, err)
	require.EqualValues(t, 1, doc.Claim, "the refused claim left something behind")
}

// TestSeveralStoresShareAFile opens one file many times, as several processes
// would: the locks are per open file, not per process.
func TestSeveralStoresShareAFile(t *testing.T) {
	const stores, goroutines, each = 3, 4, 20
	path := filepath.Join(t.TempDir(), "tarn.db")
	var g errgroup.Group
	for range stores {
		s := open(t, path)
		for range goroutines {
			g.Go(func() error { return claimMany(t.Context(), s, each) })
		}
	}
	require.NoError(t, g.Wait())
	doc, err := open(t, path).Entity(t.Context(), ref.Key)
	require.NoError(t, err)
	require.EqualValues(t, stores*goroutines*each, doc.Claim)
}

func claimMany(ctx context.Context, s storage.Store, n int) error {
	for range n {
		if _, err := s.Claim(ctx, ref); err != nil {
			return err
		}
	}
	return nil
}

// childEnv names the file a copy of this test program is to write to.
const childEnv = "TARN_TEST_SQLITE_CHILD"

// TestSeveralProcessesShareAFile starts this test twice more as processes that
// write without a pause, and checks that each gets its turn soon.
func TestSeveralProcessesShareAFile(t *testing.T) {
	const each = 150
	if path := os.Getenv(childEnv); path != "" {
		require.NoError(t, claimMany(t.Context(), open(t, path), each))
		return
	}
	path := filepath.Join(t.TempDir(), "tarn.db")
	s := open(t, path)
	var g errgroup.Group
	for range 2 {
		g.Go(func() error {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSeveralProcessesShareAFile$")
			cmd.Env = append(os.Environ(), childEnv+"="+path)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		})
	}
	var longest time.Duration
	for range each {
		start := time.Now()
		require.NoError(t, claimMany(t.Context(), s, 1))
		longest = max(longest, time.Since(start))
	}
	require.NoError(t, g.Wait())
	t.Logf("longest wait for a claim among three processes: %v", longest)
	doc, err := s.Entity(t.Context(), ref.Key)
	require.NoError(t, err)
	require.EqualValues(t, 3*each, doc.Claim)
}

// TestAMistypedPathIsRefused, and at once: it is no disk that may come back.
func TestAMistypedPathIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mistyped", "tarn.db")
	_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
	require.ErrorContains(t, err, "there is no directory "+filepath.Join(dir, "mistyped"))
	var system syscall.Errno
	require.False(t, errors.As(err, &system), "an error of the system is waited for")
	require.NoDirExists(t, filepath.Join(dir, "mistyped"))
}

// TestFilesAreTheirOwners: what is in them is customers' data.
func TestFilesAreTheirOwners(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "tarn.db"))
	_, err := s.Claim(t.Context(), ref)
	require.NoError(t, err)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 4, "the database, its log and its locks")
	for _, f := range files {
		info, err := f.Info()
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), f.Name())
	}
}
