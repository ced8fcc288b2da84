package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/tarn-sync/tarn/shared/mirror"
)

// readers is how many connections answer queries. They use the processor, not
// the disk: more than a few only take turns.
const readers = 8

// defaultScanSize documents of a few KB are read in a few milliseconds.
const defaultScanSize = 5000

// Options are the settings of a Store.
type Options struct {
	// Retention is how long the past is kept. Defaults to for ever.
	Retention mirror.Retention
	// Now is the clock of the retention, and of when letters were superseded.
	// Defaults to time.Now.
	Now func() time.Time
	// Logger hears of what fails in the background. Defaults to slog.Default.
	Logger *slog.Logger
	// ScanSize is how many documents one step of a scan reads at most. Defaults
	// to 5,000.
	ScanSize int

	// driver is the name of the SQLite driver: tests see by another one what is
	// executed. Defaults to "sqlite".
	driver string
}

// Store is a mirror.Store in one file.
type Store struct {
	path   string
	db     *sql.DB // the writer's
	reads  *sql.DB
	writer *writer
	sweep  *sweeper
	now    func() time.Time

	driver   string
	scanSize int
}

var _ mirror.Store = (*Store)(nil)

// Open opens the file at path, making it, for its owner alone, if it is missing.
// Its directory must exist: a mistyped path is refused, not made. Besides SQLite's own, two files stand beside it that keep writers
// of several processes apart: path.lock and path.gate.
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
	s := &Store{path: path, now: o.Now, driver: o.driver, scanSize: o.ScanSize}
	t, err := openTurn(path)
	if err != nil {
		return nil, err
	}
	conn, err := s.openWriter(ctx, t)
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	s.reads, err = sql.Open(s.driver, dsn(path, "query_only(1)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), conn.Close(), s.db.Close(), t.close())
	}
	s.reads.SetMaxOpenConns(readers)
	s.reads.SetMaxIdleConns(readers)
	s.writer = newWriter(conn, t)
	s.sweep = startSweeper(ctx, s.writer, o)
	return s, nil
}

// makeFile makes the file of the database unless it is there. SQLite gives the
// files it puts beside it the same permissions.
func makeFile(path string) error {
	dir := filepath.Dir(path)
	// The system's errors are not wrapped: they would be taken for a disk that is
	// away for a moment, and waited for.
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("the database %s cannot be made: there is no directory %s: make it, or mend the path", path, dir)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the database: %v", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	return nil
}

// openWriter opens the one connection that writes and brings the schema up to
// date, in a turn: another process may be starting, too.
func (s *Store) openWriter(ctx context.Context, t *turn) (conn *sql.Conn, err error) {
	s.db, err = sql.Open(s.driver, dsn(s.path, "journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(4000)", "cache_size(-65536)", "temp_store(MEMORY)"))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.path, err)
	}
	if err := t.take(); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	defer func() { err = errors.Join(err, t.pass()) }()
	if conn, err = s.db.Conn(ctx); err != nil {
		return nil, errors.Join(classify(fmt.Errorf("open %s: %w", s.path, err)), s.db.Close())
	}
	if err := migrate(ctx, conn, s.path); err != nil {
		return nil, errors.Join(classify(err), conn.Close(), s.db.Close())
	}
	return conn, nil
}

// dsn names the file with the pragmas of one connection. The busy timeout only
// matters against programs that write without taking a turn.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{"busy_timeout(2000)"}, pragmas...)}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// Ping takes a turn and makes an empty transaction, so it fails where a change
// would.
func (s *Store) Ping(ctx context.Context) error {
	return s.writer.change(ctx, func(*tx) error { return nil })
}

// Close finishes the calls under way and closes the file.
func (s *Store) Close() error {
	s.sweep.stop()
	return errors.Join(s.writer.close(), s.db.Close(), s.reads.Close())
}
