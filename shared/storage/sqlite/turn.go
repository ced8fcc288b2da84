package sqlite

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// turn is the right to write, held by one Store at a time among all processes
// that have the file open. It is two file locks taken one after the other: who
// holds the gate is next for the file. A store that has just written must pass
// the gate again, so it cannot snatch the file from one that waits, as it
// often would with a single lock. The kernel drops both when a process dies.
type turn struct {
	gate, file *os.File
}

func openTurn(path string) (*turn, error) {
	gate, err := os.OpenFile(path+".gate", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	file, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open lock file: %w", err), gate.Close())
	}
	return &turn{gate: gate, file: file}, nil
}

func (t *turn) take() error {
	if err := flock(t.gate, unix.LOCK_EX); err != nil {
		return err
	}
	err := flock(t.file, unix.LOCK_EX)
	return errors.Join(err, flock(t.gate, unix.LOCK_UN))
}

func (t *turn) pass() error { return flock(t.file, unix.LOCK_UN) }

func (t *turn) close() error { return errors.Join(t.gate.Close(), t.file.Close()) }

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}
