package fleet

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
	"github.com/tarn-sync/tarn/shared/storage/mongo/mongotest"
	"github.com/tarn-sync/tarn/shared/storage/sqlite/sqlitetest"
	"github.com/tarn-sync/tarn/shared/stream/redistest"
)

// Shown is one state that the mirror showed.
type Shown struct {
	Kind, ID string
	Claim    int64
	Raw      []byte
}

// OutboxRow is a wish as an application inserts it.
type OutboxRow struct {
	Key string
	Seq int64
	Wish
}

// Database is the store of a fleet seen from outside: what can be done to it,
// and what it showed.
type Database interface {
	// URL is the store's for the settings.
	URL() string
	// Slow makes it take its time for d, Refuse makes it fail for d. Both return
	// when it is over.
	Slow(ctx context.Context, d time.Duration) error
	Refuse(ctx context.Context, d time.Duration) error
	// Shown gives every state the mirror showed to f, in order. The plan must
	// have asked for a journal.
	Shown(ctx context.Context, f func(Shown)) error

	// Leave adds a row to the outbox.
	Leave(ctx context.Context, row OutboxRow) error

	// opened is called once a store has made its tables.
	opened(ctx context.Context) error
	close()
}

// sqliteFile is one file.
type sqliteFile struct {
	path    string
	journal bool
}

func (s *sqliteFile) URL() string { return "sqlite://" + s.path }

func (s *sqliteFile) Slow(ctx context.Context, d time.Duration) error {
	return sqlitetest.Stall(ctx, s.path, d)
}

func (s *sqliteFile) Refuse(ctx context.Context, d time.Duration) error {
	return sqlitetest.Refuse(ctx, s.path, d)
}

func (s *sqliteFile) Shown(ctx context.Context, f func(Shown)) error {
	return sqlitetest.Read(ctx, s.path, func(r sqlitetest.Shown) { f(Shown(r)) })
}

func (s *sqliteFile) Leave(ctx context.Context, row OutboxRow) error {
	parents, err := json.Marshal(row.Parents)
	if err != nil {
		return fmt.Errorf("leave %s in the outbox: %w", row.Key, err)
	}
	return sqlitetest.Leave(ctx, s.path, sqlitetest.OutboxRow{
		Key: row.Key, Source: Source, Kind: row.Kind, Op: row.Op, Ref: row.Ref, ID: row.ID, Parents: string(parents), Body: string(row.Body), Seq: row.Seq,
	})
}

func (s *sqliteFile) opened(ctx context.Context) error {
	if !s.journal {
		return nil
	}
	return sqlitetest.Journal(ctx, s.path)
}

func (s *sqliteFile) close() {}

// mongoServer is mongotest's server behind a link.
type mongoServer struct {
	server  *mongotest.Server
	link    *redistest.Proxy
	url     string
	journal string
	// database is the name of the one that the fleet has.
	database string
}

func startMongo(ctx context.Context, dir string, journal bool) (_ *mongoServer, err error) {
	data := filepath.Join(dir, "mongodb")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the database: %w", err)
	}
	m := &mongoServer{}
	if m.server, err = mongotest.Start(ctx, data); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if journal {
		m.journal = filepath.Join(dir, "journal.jsonl")
		if err := m.server.Journal(m.journal); err != nil {
			return nil, err
		}
	}
	m.database = m.server.Database()
	u, err := url.Parse(m.server.URI(m.database))
	if err != nil {
		return nil, fmt.Errorf("address of the database: %w", err)
	}
	if m.link, err = redistest.Before(u.Host); err != nil {
		return nil, err
	}
	u.Host = m.link.Addr()
	m.url = u.String()
	return m, nil
}

func (m *mongoServer) URL() string { return m.url }

func (m *mongoServer) Slow(ctx context.Context, d time.Duration) error {
	defer m.server.Freeze()()
	return Pause(ctx, d)
}

func (m *mongoServer) Refuse(ctx context.Context, d time.Duration) error {
	m.link.Refuse(true)
	defer m.link.Refuse(false)
	return Pause(ctx, d)
}

func (m *mongoServer) Shown(_ context.Context, f func(Shown)) (err error) {
	file, err := os.Open(m.journal)
	if errors.Is(err, os.ErrNotExist) && m.journal != "" {
		return nil // nothing was written
	}
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for dec := json.NewDecoder(bufio.NewReader(file)); ; {
		var s mongotest.Shown
		if err := dec.Decode(&s); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
		f(Shown{Kind: strings.TrimPrefix(s.Collection, "mirror_"+Source+"_"), ID: s.ID, Claim: s.Claim, Raw: []byte(s.Raw)})
	}
}

func (m *mongoServer) Leave(ctx context.Context, row OutboxRow) error {
	return m.server.Leave(ctx, m.database, mongotest.OutboxRow{
		Key: row.Key, Source: Source, Kind: row.Kind, Op: row.Op, Ref: row.Ref, ID: row.ID, Parents: row.Parents, Body: string(row.Body), Seq: row.Seq,
	})
}

func (m *mongoServer) opened(context.Context) error { return nil }

func (m *mongoServer) close() {
	if m.link != nil {
		m.link.Close()
	}
	_ = m.server.Close() // its log is in the directory
}

// Pause waits for d, or until ctx ends.
func Pause(ctx context.Context, d time.Duration) error {
	if !loops.Sleep(ctx, d) {
		return context.Cause(ctx)
	}
	return nil
}
