package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// patience is how long a server may take to start or a cluster to form.
	patience = time.Minute
	// tries is how often another port is tried if another process takes the first.
	tries = 5
)

// Process is a redis-server without a test around it: for programs that prove
// something, and the heart of a test's Server.
type Process struct {
	dir  string
	port int
	args []string
	env  []string // on top of ours
	// password is the default user's, and config what the command CONFIG is called.
	password, config string

	mu     sync.Mutex
	cmd    *exec.Cmd
	broken bool // it was killed or stopped at least once
}

// Option is a setting of Start and Launch.
type Option func(*Process)

// Appendfsync keeps an append-only file, synced "always" or "everysec".
// Without it nothing is kept on disk.
func Appendfsync(policy string) Option {
	return Setting("appendonly", "yes", "appendfsync", policy)
}

// Maxmemory limits memory, in bytes.
func Maxmemory(bytes int) Option { return Setting("maxmemory", strconv.Itoa(bytes)) }

// Setting gives redis-server settings: name, value, name, value.
func Setting(pairs ...string) Option {
	return func(p *Process) {
		for i := 0; i+1 < len(pairs); i += 2 {
			p.args = append(p.args, "--"+pairs[i], pairs[i+1])
		}
	}
}

// ReplicaOf makes the server a replica.
func ReplicaOf(master *Server) Option {
	return func(p *Process) {
		p.args = append(p.args, "--replicaof", "127.0.0.1", strconv.Itoa(master.port))
	}
}

// Password wants a password of the default user, as whom the Process asks.
func Password(password string) Option {
	return func(p *Process) {
		p.password = password
		p.args = append(p.args, "--requirepass", password, "--masterauth", password)
	}
}

// HideConfig renames the command CONFIG, as hosted servers do. The Process knows the name.
func HideConfig() Option {
	return func(p *Process) {
		p.config = "HIDDEN-CONFIG"
		p.args = append(p.args, "--rename-command", "CONFIG", p.config)
	}
}

// Launch starts a server with its files in dir, which must exist, and waits
// until it answers. Kill ends it.
func Launch(ctx context.Context, dir string, opts ...Option) (*Process, error) {
	p := &Process{dir: dir, config: "CONFIG", args: []string{"--save", "", "--appendonly", "no"}}
	for _, o := range opts {
		o(p)
	}
	var err error
	for range tries {
		if p.port, err = freePort(); err != nil {
			return nil, err
		}
		if err = p.start(ctx); err == nil {
			p.broken = false // by a start that failed, on a port that was taken
			return p, nil
		}
	}
	return nil, err
}

// URL returns the address as redis://…
func (p *Process) URL() string { return "redis://" + p.Addr() }

// Addr returns the address as host:port.
func (p *Process) Addr() string { return "127.0.0.1:" + strconv.Itoa(p.port) }

// Ask sends one command on a connection of its own.
func (p *Process) Ask(ctx context.Context, args ...any) error {
	c := p.client()
	defer func() { _ = c.Close() }()
	if err := c.Do(ctx, args...).Err(); err != nil {
		return fmt.Errorf("%v: %w", args, err)
	}
	return nil
}

// Kill ends the server with SIGKILL. It may be started again.
func (p *Process) Kill() {
	p.signal(syscall.SIGKILL)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Wait() // "signal: killed" is what was asked for
		p.cmd = nil
	}
}

// StartAgain starts a server again, killing it if it runs, on the same port and
// with what it had on disk.
func (p *Process) StartAgain(ctx context.Context) error {
	p.Kill()
	return p.start(ctx)
}

// Freeze stops the server as a stalled machine would, until Thaw.
func (p *Process) Freeze() { p.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (p *Process) Thaw() { p.signal(syscall.SIGCONT) }

// unbroken reports whether the server has run since Launch.
func (p *Process) unbroken() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.broken
}

func (p *Process) client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: p.Addr(), Password: p.password, MaxRetries: -1, Protocol: 2, DisableIdentity: true})
}

func (p *Process) signal(sig os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = true
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(sig) // it may have ended already
	}
}

// start runs redis-server until it answers. An error has what it said.
func (p *Process) start(ctx context.Context) error {
	path, err := binary()
	if err != nil {
		return err
	}
	logFile := filepath.Join(p.dir, "redis.log")
	args := append([]string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(p.port), "--dir", p.dir, "--logfile", logFile,
	}, p.args...)
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), p.env...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	p.mu.Lock()
	p.cmd = cmd
	p.mu.Unlock()
	if p.answers(ctx) {
		return nil
	}
	p.Kill()
	said, _ := os.ReadFile(logFile) // no file: nothing was said
	return fmt.Errorf("redis-server did not start:\n%s", said)
}

// answers waits until our own server answers. Another process on the port
// would have another directory.
func (p *Process) answers(ctx context.Context) bool {
	c := p.client()
	defer func() { _ = c.Close() }()
	return poll(ctx, func(ctx context.Context) bool {
		dir, err := c.Do(ctx, p.config, "GET", "dir").StringSlice()
		// CONFIG is answered while the file is still being read, DBSIZE is not.
		return err == nil && len(dir) == 2 && sameDir(dir[1], p.dir) && c.DBSize(ctx).Err() == nil
	})
}

func binary() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", errors.New("redis-server 7.0 or newer is needed in PATH: install it (Debian: apt-get install redis-server)")
	}
	return path, nil
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

func freePort() (int, error) {
	addr, err := FreeAddr()
	if err != nil {
		return 0, err
	}
	_, port, _ := net.SplitHostPort(addr)
	return strconv.Atoi(port)
}
