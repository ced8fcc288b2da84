package sqlite

import (
	"context"
	"errors"
	"strings"

	sqlitelib "modernc.org/sqlite/lib"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// coded is an error of SQLite's, from the driver or from conn.
type coded interface {
	error
	Code() int
}

// classify gives an error its fate. What the file refuses for its content is
// permanent, and so is a value in it that cannot be read; everything else that
// SQLite reports (busy, disk full, I/O, cannot open) passes once the disk is well
// again, so the work waits.
func classify(err error) error {
	var known *fate.Error
	var theirs coded
	switch {
	case err == nil, errors.As(err, &known),
		errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrCursor),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &theirs):
		switch theirs.Code() & 0xff { // the low byte is the primary code
		case sqlitelib.SQLITE_TOOBIG, sqlitelib.SQLITE_CONSTRAINT, sqlitelib.SQLITE_MISMATCH:
			return fate.New(fate.Permanent, err)
		}
	case isUnreadable(err):
		return fate.New(fate.Permanent, err)
	}
	return fate.New(fate.Unavailable, err)
}

// refusesWrites reports whether an error says that the file can be read and not
// written: a full disk, one that fails, or a file that is read-only.
func refusesWrites(err error) bool {
	var theirs coded
	if !errors.As(err, &theirs) {
		return false
	}
	switch theirs.Code() & 0xff { // the low byte is the primary code
	case sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_READONLY:
		return true
	}
	return false
}

// isUnreadable reports whether a value of a row is not of the type it should be.
// The package sql has no type for the error.
func isUnreadable(err error) bool {
	return errors.Is(err, errUnreadable) || strings.Contains(err.Error(), "sql: Scan error on column")
}
