package redistest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// patience is how long a server may take to start or a cluster to form.
	patience = 20 * time.Second
	// tries is how often another port is tried should somebody else be faster.
	tries = 5
)

// Server is a running redis-server.
type Server struct {
	t    testing.TB
	dir  string
	port int
	args []string

	mu  sync.Mutex
	cmd *exec.Cmd
}

// Option is a setting of Start.
type Option func(*Server)

// Appendfsync keeps an append-only file, synced "always" or "everysec".
// Without it nothing is kept on disk.
func Appendfsync(policy string) Option {
	return Setting("appendonly", "yes", "appendfsync", policy)
}

// Maxmemory limits memory, in bytes.
func Maxmemory(bytes int) Option { return Setting("maxmemory", strconv.Itoa(bytes)) }

// Setting gives redis-server settings: name, value, name, value.
func Setting(pairs ...string) Option {
	return func(s *Server) {
		for i := 0; i+1 < len(pairs); i += 2 {
			s.args = append(s.args, "--"+pairs[i], pairs[i+1])
		}
	}
}

// ReplicaOf makes the server a replica.
func ReplicaOf(master *Server) Option {
	return func(s *Server) {
		s.args = append(s.args, "--replicaof", "127.0.0.1", strconv.Itoa(master.port))
	}
}

// Start starts a server and waits until it answers. The test ends it.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), args: []string{"--save", "", "--appendonly", "no"}}
	for _, o := range opts {
		o(s)
	}
	t.Cleanup(s.Kill)
	var said string
	for range tries {
		s.port = freePort(t)
		if said = s.start(); said == "" {
			return s
		}
	}
	t.Fatalf("redis-server did not start:\n%s", said)
	return nil
}

// URL returns the address as redis://…
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Addr returns the address as host:port.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Client returns a client for the test's own questions, closed by the test.
func (s *Server) Client() *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, Protocol: 2, DisableIdentity: true})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// FlushAll makes Redis lose everything.
func (s *Server) FlushAll() {
	s.t.Helper()
	c := s.Client()
	if err := c.FlushAll(s.t.Context()).Err(); err != nil {
		s.t.Fatalf("flush redis: %v", err)
	}
}

// Kill ends the server with SIGKILL. It may be restarted.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Restart starts the killed server again, on the same port and with what it
// had on disk.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if said := s.start(); said != "" {
		s.t.Fatalf("redis-server did not start again:\n%s", said)
	}
}

// Freeze stops the server as a stalled machine would, until Thaw.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(sig) // it may have ended already
	}
}

func (s *Server) end(sig os.Signal) {
	s.signal(sig)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Wait() // "signal: killed" is what was asked for
		s.cmd = nil
	}
}

// start runs redis-server. It returns what the server said if it did not come
// up, "" if it did.
func (s *Server) start() string {
	s.t.Helper()
	logFile := filepath.Join(s.dir, "redis.log")
	args := append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir, "--logfile", logFile,
	}, s.args...)
	cmd := exec.Command(binary(s.t), args...)
	if err := cmd.Start(); err != nil {
		s.t.Fatalf("start redis-server: %v", err)
	}
	s.mu.Lock()
	s.cmd = cmd
	s.mu.Unlock()
	if s.answers() {
		return ""
	}
	s.Kill()
	said, _ := os.ReadFile(logFile) // no file: nothing was said
	return string(said) + "\n"
}

func binary(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("this test needs redis-server 7.0 or newer in PATH; install it (Debian: apt-get install redis-server)")
	}
	return path
}

// answers waits until our own server answers. Another process on the port
// would have another directory.
func (s *Server) answers() bool {
	c := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1, Protocol: 2, DisableIdentity: true})
	defer func() { _ = c.Close() }()
	return poll(s.t.Context(), func(ctx context.Context) bool {
		dir, err := c.ConfigGet(ctx, "dir").Result()
		return err == nil && sameDir(dir["dir"], s.dir)
	})
}

func sameDir(a, b string) bool {
	ra, errA := filepath.EvalSymlinks(a)
	rb, errB := filepath.EvalSymlinks(b)
	return errA == nil && errB == nil && strings.EqualFold(ra, rb)
}

// poll asks every few milliseconds until the answer is yes, or patience ends.
func poll(ctx context.Context, yes func(context.Context) bool) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if yes(ctx) {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
