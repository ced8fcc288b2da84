package mongotest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"sync/atomic"

	"github.com/FerretDB/FerretDB/ferretdb"
)

// BulkSize is how many updates a command may carry.
const BulkSize = 50

// Server is a running server.
type Server struct {
	proxy    *proxy
	cancel   context.CancelFunc
	finished chan struct{}
	next     atomic.Int64
}

// Start starts a server on a free port of 127.0.0.1, with its data in dir,
// which must exist.
func Start(ctx context.Context, dir string) (*Server, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("start FerretDB: %s is no directory", dir)
	}
	db, err := ferretdb.New(&ferretdb.Config{
		Listener: ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Logger:   slog.New(slog.NewTextHandler(io.Discard, nil)),
		Handler:  "sqlite",
		// The data need not outlive the machine.
		SQLiteURL: (&url.URL{Scheme: "file", Opaque: dir + "/", RawQuery: "_pragma=synchronous(off)"}).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("start FerretDB: %w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{cancel: cancel, finished: make(chan struct{})}
	go func() {
		defer close(s.finished)
		_ = db.Run(ctx) // it answers nil always
	}()
	behind, err := url.Parse(db.MongoDBURI())
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("start FerretDB: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("start the proxy of FerretDB: %w", err)
	}
	s.proxy = newProxy(listener, behind.Host)
	return s, nil
}

// URI is the address of a database of this server. Calls may take a minute:
// commands wait for each other, and test machines are busy.
func (s *Server) URI(database string) string {
	return "mongodb://" + s.proxy.listener.Addr().String() + "/" + database + "?timeoutMS=60000"
}

// Database returns the name of a database nobody has used yet.
func (s *Server) Database() string { return fmt.Sprintf("tarn_%d", s.next.Add(1)) }

// Record records the commands for one database from now on, until the
// returned function is called, which returns them in order.
func (s *Server) Record(database string) (stop func() []Command) {
	return s.proxy.record(database)
}

// Journal adds every state that mirror documents take to a file from now on, a
// line of JSON each, in the order the commands were run; see Shown.
func (s *Server) Journal(path string) error {
	j, err := openJournal(path)
	if err != nil {
		return err
	}
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	s.proxy.journal = j
	return nil
}

// Close stops the server. Its data stay.
func (s *Server) Close() error {
	err := s.proxy.close()
	s.stop()
	return err
}

func (s *Server) stop() {
	s.cancel()
	<-s.finished
}
