package sqlite

import (
	"log/slog"
	"os"
	"strconv"
)

const (
	// walPages is after how many pages (of 4 KiB) in the write-ahead log they are
	// copied into the main file.
	walPages = 4000
	// walKept is the size in bytes to which the log is cut when it starts again.
	// Without a bound it would stay as large as it ever was.
	walKept = 32 << 20
	// walWarned is the size in bytes from which the log is warned of.
	walWarned = 256 << 20
)

// walPragmas are the settings of the log.
func walPragmas() []string {
	return []string{
		"journal_mode(WAL)", "wal_autocheckpoint(" + strconv.Itoa(walPages) + ")", "journal_size_limit(" + strconv.Itoa(walKept) + ")",
	}
}

// walWatch warns of a write-ahead log that grows, once until it is small again.
// The log starts again only when no reader needs what is in it: a program that
// keeps a read transaction open, a backup or a shell, makes it grow without end.
type walWatch struct {
	path  string // of the log
	bound int64
	log   *slog.Logger
	large bool
}

func (w *walWatch) look() {
	info, err := os.Stat(w.path)
	large := err == nil && info.Size() >= w.bound
	if large && !w.large {
		w.log.Warn("the write-ahead log of the database grows: a program that reads it keeps a transaction open; end that program, or the disk fills up",
			"path", w.path, "bytes", info.Size())
	}
	w.large = large
}
