package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
)

// redis is a redis-server that is a child of this process.
type redis struct {
	path, dir, addr string
	log             *slog.Logger
	done            chan struct{}
}

// startRedis starts redis-server with its data in dir and keeps it running
// until ctx ends. When stop returns it is gone.
func startRedis(ctx context.Context, dir string, log *slog.Logger) (r *redis, stop func(), err error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, nil, fmt.Errorf("redis-server is not installed: `make run` gets it, or use your package manager")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	if err := endLeftover(ctx, dir); err != nil {
		return nil, nil, err
	}
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(addrFile(dir), []byte(addr), 0o600); err != nil {
		return nil, nil, err
	}
	life, end := context.WithCancel(ctx)
	r = &redis{path: path, dir: dir, addr: addr, log: log, done: make(chan struct{})}
	go r.keep(life)
	stop = func() { end(); <-r.done }
	if err := r.await(ctx); err != nil {
		stop()
		return nil, nil, err
	}
	return r, stop, nil
}

// keep runs the server, again if it dies, until ctx ends.
func (r *redis) keep(ctx context.Context) {
	defer close(r.done)
	for ctx.Err() == nil {
		err := r.command(ctx).Run()
		if ctx.Err() != nil {
			return
		}
		r.log.Warn("redis-server died and is started again", "error", err, "see", filepath.Join(r.dir, "redis.log"))
		if !loops.Sleep(ctx, 200*time.Millisecond) {
			return
		}
	}
}

func (r *redis) command(ctx context.Context) *exec.Cmd {
	host, port, _ := net.SplitHostPort(r.addr) // made by freeAddr
	cmd := exec.CommandContext(ctx, r.path,
		"--bind", host, "--port", port, "--dir", r.dir, "--logfile", filepath.Join(r.dir, "redis.log"),
		"--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction")
	// A group of its own: Ctrl-C in a terminal goes to the whole group of this
	// process, and Redis must be the last to go.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// await waits until the server has read its file and answers.
func (r *redis) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		answer, err := ask(ctx, r.addr, "PING")
		if err == nil && answer == "+PONG" {
			return nil
		}
		if !loops.Sleep(ctx, 20*time.Millisecond) {
			return fmt.Errorf("redis-server does not answer: see %s", filepath.Join(r.dir, "redis.log"))
		}
	}
}

// endLeftover ends the server of an earlier run that was killed before it could
// do so: two servers must not append to one file.
func endLeftover(ctx context.Context, dir string) error {
	text, err := os.ReadFile(addrFile(dir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	addr := string(text)
	if is, err := ask(ctx, addr, "CONFIG GET dir"); err != nil || !sameDir(is, dir) {
		return nil // no server is there, or another one
	}
	_, _ = ask(ctx, addr, "SHUTDOWN") // it answers by closing the connection
	for range 500 {
		if _, err := ask(ctx, addr, "PING"); err != nil {
			return nil
		}
		if !loops.Sleep(ctx, 20*time.Millisecond) {
			return ctx.Err()
		}
	}
	return fmt.Errorf("a redis-server of an earlier run is still there on %s: end it", addr)
}

// sameDir looks for dir as the last line of the answer to CONFIG GET.
func sameDir(answer, dir string) bool {
	lines := strings.Split(answer, "\r\n")
	a, errA := os.Stat(lines[len(lines)-1])
	b, errB := os.Stat(dir)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

func addrFile(dir string) string { return filepath.Join(dir, "addr") }

// askWithin is how long an answer may take. A server that is slow must not be taken for none.
const askWithin = 10 * time.Second

// ask sends one inline command and returns what comes back at once.
func ask(ctx context.Context, addr, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
		return "", err
	}
	answer := make([]byte, 4096)
	n, err := bufio.NewReader(conn).Read(answer)
	return strings.TrimSuffix(string(answer[:n]), "\r\n"), err
}

// freeAddr returns a loopback address without a listener.
func freeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
