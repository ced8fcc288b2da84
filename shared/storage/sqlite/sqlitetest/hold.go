package sqlitetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tarn-sync/tarn/shared/loops"
)

// Stall keeps every store of the file from writing for d, by taking their turn
// and not passing it on: their calls take that much longer.
func Stall(ctx context.Context, path string, d time.Duration) (err error) {
	turn, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("stall %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, turn.Close()) }() // which gives the lock back
	for {
		err := unix.Flock(int(turn.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("stall %s: %w", path, err)
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return wait(ctx, d)
}

// Refuse holds a transaction open for d, as a program would that knows nothing
// of turns: writes of the stores fail once their patience, 2 s, is over.
func Refuse(ctx context.Context, path string, d time.Duration) error {
	return with(ctx, path, func(c *sql.Conn) error {
		if _, err := c.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
			return fmt.Errorf("lock %s: %w", path, err)
		}
		err := wait(ctx, d)
		_, end := c.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		return errors.Join(err, end)
	})
}

func wait(ctx context.Context, d time.Duration) error {
	if !loops.Sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}
