package mongotest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// BulkSize is how many updates a command may carry.
const BulkSize = 50

// Server is a running server.
type Server struct {
	process *process
	proxy   *proxy
	next    atomic.Int64
}

// Start starts a server on a free port of 127.0.0.1, with its data in dir,
// which must exist. It builds FerretDB first if that was never done on this
// machine, which takes minutes. The server runs until Close, or until this
// process ends.
func Start(ctx context.Context, dir string) (*Server, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("start FerretDB: %s is no directory", dir)
	}
	process, err := start(ctx, dir)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the proxy of FerretDB: %w", errors.Join(err, process.stop()))
	}
	return &Server{process: process, proxy: newProxy(listener, process.addr)}, nil
}

// URI is the address of a database of this server. Calls may take a minute:
// commands wait for each other, and test machines are busy.
func (s *Server) URI(database string) string {
	return "mongodb://" + s.proxy.listener.Addr().String() + "/" + database + "?timeoutMS=60000"
}

// Database returns the name of an unused database.
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

// Freeze makes the server answer nothing, as a stalled machine does, until thaw
// is called. What it is sent waits.
func (s *Server) Freeze() (thaw func()) {
	s.proxy.frozen.Lock()
	return s.proxy.frozen.Unlock
}

// Close stops the server. Its data stay.
func (s *Server) Close() error {
	return errors.Join(s.proxy.close(), s.process.stop())
}
