package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tarn-sync/tarn/shared/fate"
	"github.com/tarn-sync/tarn/shared/storage"
	"github.com/tarn-sync/tarn/shared/storage/internal/page"
)

// readers is how many connections answer queries. They use the processor, not
// the disk: more than a few only take turns.
const readers = 8

// defaultScanSize documents of a few KB are read in a few milliseconds.
const defaultScanSize = 5000

// Options are the settings of a Store.
type Options struct {
	// Retention is how long the past is kept. Defaults to for ever.
	Retention storage.Retention
	// Now is the clock of the retention, and of when dead letters were superseded.
	// Defaults to time.Now.
	Now func() time.Time
	// Logger hears of what fails in the background. Defaults to slog.Default.
	Logger *slog.Logger
	// ScanSize is how many documents one step of a scan reads at most, and how many
	// events that name a kind are looked through for a list of them. Defaults to 5,000.
	ScanSize int

	// driver is the name of the SQLite driver of the readers, and prepared is called
	// with the writer's statements: tests see by them what is executed. Default to
	// "sqlite" and none.
	driver   string
	prepared func(query string)
}

// Store is a storage.Store in one file.
type Store struct {
	path   string
	reads  *sql.DB
	writer *writer
	sweep  *sweeper
	now    func() time.Time

	scanSize int
	steps    page.Steps // of scans, by source and kind
}

var _ storage.Store = (*Store)(nil)

// Open opens the file at path, making it, for its owner alone, if it is missing.
// Its directory must exist: a mistyped path is refused, not made. Besides
// SQLite's own, two files are beside it that keep writers of several processes
// apart: path.lock and path.gate.
func Open(ctx context.Context, path string, o Options) (_ *Store, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.ScanSize <= 0 {
		o.ScanSize = defaultScanSize
	}
	if o.driver == "" {
		o.driver = "sqlite"
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := makeFile(path); err != nil {
		return nil, err
	}
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) == nil { // what is wrong with the file is found below
		warnOfNetwork(o.Logger, path, uint32(fs.Type)) //nolint:gosec // the kinds have 32 bits
	}
	s := &Store{path: path, now: o.Now, scanSize: o.ScanSize}
	t, err := openTurn(path)
	if err != nil {
		return nil, err
	}
	f := &file{path: path, turn: t, log: o.Logger}
	c, err := openWriter(ctx, f, o.prepared)
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	// rw: a reader that comes when the file is gone must not make an empty one.
	s.reads, err = sql.Open(o.driver, dsn(path, "query_only(1)", readersCache)+"&mode=rw")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), c.close(), t.close())
	}
	s.reads.SetMaxOpenConns(readers)
	s.reads.SetMaxIdleConns(readers)
	s.writer = newWriter(c, f)
	s.sweep = startSweeper(ctx, s.writer, o, &walWatch{path: path + "-wal", bound: walWarned, log: o.Logger})
	return s, nil
}

// makeFile makes the file of the database unless it is there. SQLite gives the
// files it puts beside it the same permissions. A file that is there is looked at
// and not opened: closing it would drop the locks of every other Store that this
// process has on it, see file.generation.
func makeFile(path string) error {
	dir := filepath.Dir(path)
	// The system's errors are not wrapped: they would be taken for a disk that is
	// away for a moment, and waited for.
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("the database %s cannot be made: there is no directory %s: make it, or correct the path", path, dir)
	}
	if err := orphanedLog(path); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usable(path)
	}
	if err != nil {
		return fmt.Errorf("open the database: %v", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	return nil
}

// orphanedLog fails if the file of the database is gone and its write-ahead log is
// still there, with data that is nowhere else. The log is looked at first: that of
// a process that starts at the same time comes after the file.
func orphanedLog(path string) error {
	wal, err := os.Stat(path + "-wal")
	if err != nil || wal.Size() == 0 {
		return nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fate.Errorf(fate.Permanent, "the database %s is gone, and its write-ahead log %[1]s-wal is still there, with the last writes: "+
		"put the file back where it was; or, if it is lost, move %[1]s-wal and %[1]s-shm away and restore a backup", path)
}

// usable fails if what lies at path cannot be a database that is written to.
func usable(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return fmt.Errorf("open the database: %s is a directory", path)
	}
	if err == nil {
		err = unix.Access(path, unix.R_OK|unix.W_OK)
	}
	if err != nil {
		return fmt.Errorf("open the database %s: %v", path, err)
	}
	return nil
}

// openWriter opens the one connection that writes and brings the schema up to
// date, in a turn: another process may be starting, too.
func openWriter(ctx context.Context, f *file, prepared func(string)) (c *conn, err error) {
	if err := f.turn.take(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.turn.pass()) }()
	if err := f.checkCopy(ctx); err != nil {
		return nil, classify(err)
	}
	if c, err = openConn(f.path, prepared); err != nil {
		return nil, classify(fmt.Errorf("open %s: %w", f.path, err))
	}
	if err := prepare(c, f); err != nil {
		return nil, errors.Join(classify(err), c.close())
	}
	return c, nil
}

// prepare sets the connection up, brings the file up to date and notes which it is.
func prepare(c *conn, f *file) error {
	for _, pragma := range append([]string{busyTimeout}, append(walPragmas(), "synchronous(FULL)", cacheSize, "temp_store(MEMORY)")...) {
		if err := c.script("PRAGMA " + pragma); err != nil {
			return fmt.Errorf("open %s: %w", f.path, err)
		}
	}
	if err := migrate(c, f.path); err != nil {
		return err
	}
	if err := c.script(fleetTable); err != nil {
		return fmt.Errorf("make tables in %s: %w", f.path, err)
	}
	return f.open(c)
}

// cacheSize bounds the page cache of the connection that writes, to 8 MiB. The cache is
// memory beside Go's heap. What it does not hold, the system's own cache of the file
// does, at the price of a read. SQLite goes through all of it in nearly every commit, to
// drop pages beyond the end of the file, so a larger one costs each commit more.
const cacheSize = "cache_size(-8192)"

// readersCache bounds that of each connection that reads, to 512 KiB: they are many, and what
// they ask for are a few pages each.
const readersCache = "cache_size(-512)"

// secureDelete is SQLite's default: what is removed stays in the page until that is used
// again, unless it is erased (see thoroughly).
const secureDelete = "OFF"

// busyTimeout, in milliseconds, only matters against programs that write without
// taking a turn.
const busyTimeout = "busy_timeout(2000)"

// dsn names the file with the pragmas of one connection.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{busyTimeout}, pragmas...)}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// Ping takes a turn and makes an empty transaction. Once a change could not be
// written it tries to write one as well, and answers fate.ErrNoWrites until that
// can be done: an empty transaction succeeds on a full disk.
func (s *Store) Ping(ctx context.Context) error {
	refused := s.writer.refused.Load()
	if refused == nil {
		return s.writer.change(ctx, func(*tx) error { return nil })
	}
	if err := s.writer.change(ctx, tryWrite); err != nil {
		return fmt.Errorf("%s %w: %w", s.path, fate.ErrNoWrites, err)
	}
	s.writer.refused.CompareAndSwap(refused, nil)
	return nil
}

// tryWrite makes the file grow by what a few documents need, which is used by the
// next ones then.
func tryWrite(t *tx) error {
	for _, query := range []string{
		"CREATE TABLE tried (x)", "INSERT INTO tried VALUES (randomblob(65536))", "DROP TABLE tried",
	} {
		if err := t.script(query); err != nil {
			return err
		}
	}
	return nil
}

// Close finishes the calls under way and closes the file, in a turn: the last
// process to close it writes the log back into the main file, which another that
// starts must not read half-written.
func (s *Store) Close() error {
	s.sweep.stop()
	if !s.writer.end() {
		return nil
	}
	t := s.writer.file.turn
	err := t.take()
	err = errors.Join(err, s.writer.close(), s.reads.Close())
	return errors.Join(err, t.close()) // which passes the turn on
}
