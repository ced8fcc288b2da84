package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
)

// raiseEvery is how often the generation is raised while there are writes: a
// copy is recognised as older if it is at least that much older.
const raiseEvery = time.Minute

// generationDigits is how the lock file holds a generation: padded, so that a
// later one covers an earlier one whole.
const generationDigits = 20

// parts are the files SQLite itself keeps a database in while it is open. SQLite
// itself replaces none of them meanwhile.
var parts = [...]string{"", "-wal", "-shm"}

// file is the database as it was opened. It notices two things that SQLite does
// not look for:
//
//   - The file was removed or another was put in its place while it is open.
//     SQLite goes on writing to the one it has open, which is gone with the last
//     process that holds it.
//   - An older copy was put over the file beside the write-ahead log of a newer
//     one. SQLite lays that log over the copy: at best the copy has no effect, at
//     worst pages of two histories are mixed.
//
// For the second the database has a generation, a number that grows. It is kept
// twice: in the database's header (application_id, which SQLite leaves to the
// application) and in the lock file, there only once a checkpoint has brought
// it into the database's main file. So a main file with a lower generation than
// the lock file is an older copy. Without a write-ahead log beside it, that is a
// restore, and goes on; with one it is refused.
//
// Its methods are called in the writer's turn; check may be called at any time
// once the file is open.
type file struct {
	path string
	turn *turn
	log  *slog.Logger

	// names are those of the parts: SQLite follows a link before it names the
	// files beside the database.
	names  [len(parts)]string
	opened [len(parts)]os.FileInfo
	// raised is when the generation was raised last.
	raised time.Time
}

// checkCopy refuses an older copy beside a newer write-ahead log. It is called
// before SQLite opens the file, since opening lays the log over it.
func (f *file) checkCopy(ctx context.Context) error {
	known, err := f.known()
	if err != nil || known == 0 {
		return err
	}
	found, err := f.generation(ctx)
	if err != nil || found >= known {
		return err
	}
	wal, err := os.Stat(f.path + "-wal")
	if errors.Is(err, fs.ErrNotExist) || err == nil && wal.Size() == 0 {
		f.log.Warn("the database is an older copy of the one last used here: it was restored", "file", f.path, "generation", found, "last", known)
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the write-ahead log of %s: %w", f.path, err)
	}
	return fate.Errorf(fate.Permanent, "%s is an older copy (generation %d) than what its write-ahead log belongs to (%d): "+
		"to use the copy, remove %[1]s-wal and %[1]s-shm; to go on with the newer database, put its file back", f.path, found, known)
}

// open notes which files were opened, and raises the generation.
func (f *file) open(c *conn) error {
	real, err := filepath.EvalSymlinks(f.path)
	if err != nil {
		return fmt.Errorf("look at the file of the database: %w", err)
	}
	for i, suffix := range parts {
		f.names[i] = real + suffix
		if f.opened[i], err = os.Stat(f.names[i]); err != nil {
			return fmt.Errorf("look at the file of the database: %w", err)
		}
	}
	f.names[0] = f.path // a link that leads elsewhere is another file, too
	f.raised = time.Now()
	return f.raise(c)
}

// check fails with storage.ErrReplaced once one of the files is not the one that
// was opened.
func (f *file) check() error {
	for i, name := range f.names {
		info, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fate.New(fate.Unavailable, fmt.Errorf("%w: %s was removed; stop the processes that use it, put it back and start them again", storage.ErrReplaced, name))
		case err != nil:
			return fate.New(fate.Unavailable, fmt.Errorf("look at the file of the database: %w", err))
		case !os.SameFile(info, f.opened[i]):
			return fate.New(fate.Unavailable, fmt.Errorf("%w: another file lies at %s; restart the processes that use it", storage.ErrReplaced, name))
		}
	}
	return nil
}

// keep raises the generation if it is time again. It fails if an older copy was
// put over the file meanwhile.
func (f *file) keep(ctx context.Context, c *conn) error {
	if time.Since(f.raised) < raiseEvery {
		return nil
	}
	known, err := f.known()
	if err != nil {
		return err
	}
	found, err := f.generation(ctx)
	if err != nil {
		return err
	}
	if found < known {
		return fate.New(fate.Unavailable, fmt.Errorf("%w: an older copy (generation %d, not %d) was put over %s; stop the processes that use it and see how to restore", storage.ErrReplaced, found, known, f.path))
	}
	f.raised = time.Now()
	if err := f.raise(c); err != nil { // what it was is as good for another while
		f.log.Warn("the generation of the database was not raised; trying again", "error", err, "in", raiseEvery)
	}
	return nil
}

// raise raises the generation, first in the database and, once that is in the
// main file, in the lock file. A checkpoint that readers keep from finishing
// leaves the lock file behind, which is the safe side.
func (f *file) raise(c *conn) error {
	known, err := f.known()
	if err != nil {
		return err
	}
	var now, busy, logged, moved int64
	if err := c.row("PRAGMA application_id").Scan(&now); err != nil {
		return fmt.Errorf("read the generation: %w", err)
	}
	next := max(known, now) + 1
	if err := c.script(fmt.Sprintf("PRAGMA application_id = %d", next)); err != nil {
		return fmt.Errorf("raise the generation: %w", err)
	}
	if err := c.row("PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &logged, &moved); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if busy != 0 || moved < logged {
		return nil
	}
	if _, err := f.turn.file.WriteAt(fmt.Appendf(nil, "%0*d\n", generationDigits, next), 0); err != nil {
		return fmt.Errorf("note the generation: %w", err)
	}
	return nil
}

// known is the generation that the main file had at least, 0 if none was noted.
func (f *file) known() (int64, error) {
	text := make([]byte, generationDigits)
	n, err := f.turn.file.ReadAt(text, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read the generation: %w", err)
	}
	if n < generationDigits { // none was noted yet
		return 0, nil
	}
	known, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the generation in %s: %w", f.turn.file.Name(), err)
	}
	return known, nil
}

// generation is that of the main file alone, without the write-ahead log. It is
// read through SQLite (immutable: no lock is taken and no log read): a file that
// was opened and closed beside it would drop SQLite's locks, see
// https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_.
func (f *file) generation(ctx context.Context) (n int64, err error) {
	db, err := sql.Open("sqlite", dsn(f.path)+"&immutable=1&mode=ro")
	if err != nil {
		return 0, fmt.Errorf("read the generation of %s: %w", f.path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&n); err != nil {
		return 0, fmt.Errorf("read the generation of %s: %w", f.path, err)
	}
	return n, nil
}
