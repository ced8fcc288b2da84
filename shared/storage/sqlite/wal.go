package sqlite

import (
	"log/slog"
	"os"
	"strconv"
	"time"
)

const (
	// walPages is after how many pages (of 4 KiB) in the write-ahead log they are
	// copied into the main file.
	walPages = 4000
	// walKept is the size in bytes to which the log is cut when it starts again.
	// Without a bound it would stay as large as it ever was.
	walKept = 32 << 20
	// walWaited is the size in bytes from which the writer waits for readers so that
	// the log can start again.
	walWaited = 64 << 20
	// walPatience is how long it waits, in milliseconds, and walPause how long it does
	// not look again; ten times as long after it has waited in vain.
	walPatience = 500
	walPause    = time.Second
	// walWarned is the size in bytes from which the log is warned of.
	walWarned = 256 << 20
)

// walPragmas are the settings of the log.
func walPragmas() []string {
	return []string{
		"journal_mode(WAL)", "wal_autocheckpoint(" + strconv.Itoa(walPages) + ")", "journal_size_limit(" + strconv.Itoa(walKept) + ")",
	}
}

// walRestart has a large write-ahead log start again. SQLite does so by itself at a moment
// when no reader needs the log, and where many read there may never be one.
type walRestart struct {
	path  string // of the log
	bound int64
	pause time.Duration
	next  time.Time // not before
}

// look is called in the writer's turn, outside a transaction. New readers read the main
// file once all is copied there, so that waiting for those under way is enough. What fails
// here is no matter of a write: the next look tries again, and a log that stays large is
// warned of.
func (w *walRestart) look(c *conn) {
	if time.Now().Before(w.next) {
		return
	}
	w.next = time.Now().Add(w.pause)
	if info, err := os.Stat(w.path); err != nil || info.Size() < w.bound {
		return // a file that is gone is noticed elsewhere
	}
	_ = c.script("PRAGMA busy_timeout = " + strconv.Itoa(walPatience))
	var busy, logged, moved int64
	if err := c.row("PRAGMA wal_checkpoint(RESTART)").Scan(&busy, &logged, &moved); err != nil || busy != 0 {
		w.next = time.Now().Add(10 * w.pause)
	}
	_ = c.script("PRAGMA " + busyTimeout)
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
