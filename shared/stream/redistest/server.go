package redistest

import (
	"testing"

	"github.com/redis/go-redis/v9"
)

// Server is a redis-server that a test started and that goes with it.
type Server struct {
	*Process
	t testing.TB
}

// Start starts a server and waits until it answers. The test ends it. Without
// options it may be one that served another test; see Reuse.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	if len(opts) == 0 {
		if p := borrowed(t); p != nil {
			return &Server{Process: p, t: t}
		}
	}
	p, err := Launch(t.Context(), t.TempDir(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return &Server{Process: p, t: t}
}

// Client returns a client for the test's own questions, closed by the test.
func (s *Server) Client() *redis.Client {
	c := s.client()
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// FlushAll makes Redis lose everything.
func (s *Server) FlushAll() {
	s.t.Helper()
	if err := s.Ask(s.t.Context(), "FLUSHALL"); err != nil {
		s.t.Fatal(err)
	}
}

// Restart starts the killed server again, on the same port and with what it
// had on disk.
func (s *Server) Restart() {
	s.t.Helper()
	if err := s.StartAgain(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}
