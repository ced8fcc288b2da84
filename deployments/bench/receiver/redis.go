package receiver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/loops"
)

// redisServer is a redis-server of our own.
type redisServer struct {
	cmd    *exec.Cmd
	client *redis.Client
	url    string
}

// startRedis runs redis-server on a free
// port of loopback, its files in dir, AOF with the given fsync policy. AOF
// rewrites and snapshots are off, since one of them would hit one server only.
func startRedis(ctx context.Context, dir, fsync string) (*redisServer, error) {
	addr, err := freeAddr(ctx)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("free address %s: %w", addr, err)
	}
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", dir,
		"--logfile", filepath.Join(dir, "redis.log"), "--save", "", "--appendonly", "yes", "--appendfsync", fsync,
		"--auto-aof-rewrite-percentage", "0", "--maxmemory-policy", "noeviction")
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start redis-server (is it installed?): %w", err)
	}
	s := &redisServer{cmd: cmd, client: redis.NewClient(&redis.Options{Addr: addr}), url: "redis://" + addr}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("redis-server did not come up, see %s: %w", filepath.Join(dir, "redis.log"), err), s.stop())
	}
	return s, nil
}

func freeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func (s *redisServer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := s.client.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		if !loops.Sleep(ctx, 50*time.Millisecond) {
			return err
		}
	}
}

// empty forgets everything, so that no server inherits another's streams.
func (s *redisServer) empty(ctx context.Context) error {
	if err := s.client.FlushAll(ctx).Err(); err != nil {
		return fmt.Errorf("empty redis: %w", err)
	}
	return nil
}

func (s *redisServer) stop() error {
	err := errors.Join(s.client.Close(), s.cmd.Process.Signal(syscall.SIGTERM))
	_ = s.cmd.Wait() // ended by a signal
	return err
}
