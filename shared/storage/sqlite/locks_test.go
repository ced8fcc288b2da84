package sqlite

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// POSIX drops all locks a process has on a file when the process closes any
// descriptor of it.
func TestAnotherOpenKeepsTheLocksOfTheFirst(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	opened(t, path)
	other, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	locked := func() bool {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
		require.NoError(t, unix.FcntlFlock(other.Fd(), unix.F_OFD_GETLK, &lock))
		return lock.Type != unix.F_UNLCK
	}
	require.True(t, locked(), "sqlite has a lock while the file is open")
	require.NoError(t, makeFile(path))
	require.True(t, locked())
}

func TestWhatCannotBeADatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(t.Context(), dir, Options{})
	require.ErrorContains(t, err, "is a directory")
	link := filepath.Join(dir, "tarn.db")
	require.NoError(t, os.Symlink("nowhere.db", link))
	_, err = Open(t.Context(), link, Options{})
	require.ErrorContains(t, err, "no such file")
}

// The last to close writes the log into the main file; one that starts reads
// the main file alone, in its turn.
func TestClosingWaitsForItsTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	s := opened(t, path)
	_, err := s.Claim(t.Context(), order)
	require.NoError(t, err)
	starting, err := openTurn(path)
	require.NoError(t, err)
	require.NoError(t, starting.take())

	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	require.Eventually(t, func() bool { return gateTaken(t, path) || len(closed) > 0 }, 20*time.Second, time.Millisecond)
	require.Empty(t, closed)
	require.FileExists(t, path+"-wal", "nothing is written back yet")
	require.NoError(t, starting.pass())
	require.NoError(t, <-closed)
	require.NoFileExists(t, path+"-wal")
	require.NoError(t, starting.close())
}

// gateTaken reports whether a store waits at the gate for its turn.
func gateTaken(t *testing.T, path string) bool {
	t.Helper()
	gate, err := os.OpenFile(path+".gate", os.O_RDWR, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, gate.Close()) }()
	err = unix.Flock(int(gate.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	return errors.Is(err, unix.EWOULDBLOCK)
}

// Each process asks for the fleet every few seconds: that must not wait for, or
// hold up, those that write.
func TestTheFleetIsReadOutsideTheTurn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.db")
	s := opened(t, path)
	writing, err := openTurn(path)
	require.NoError(t, err)
	require.NoError(t, writing.take())
	done := make(chan struct{})
	go func() { defer close(done); _, _ = s.Fleet(t.Context()) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("it waits for the turn")
	}
	require.NoError(t, writing.close())
	<-done
}
