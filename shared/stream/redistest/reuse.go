package redistest

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Reuse lets Start give the next test a server that a finished test left unchanged,
// emptied, since starting one takes longer than most tests. At any time a server
// belongs to one test. The returned function ends the servers and the process: it is
// for the end of TestMain.
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.Cleanup(redistest.Reuse())) }
func Reuse() (end func(code int)) {
	idle.mu.Lock()
	defer idle.mu.Unlock()
	idle.on = true
	return func(code int) {
		idle.mu.Lock()
		defer idle.mu.Unlock()
		for _, r := range idle.servers {
			r.end()
		}
		os.Exit(code)
	}
}

// idle are the servers that no test has.
var idle struct {
	mu      sync.Mutex
	on      bool
	servers []*reusable
}

// reusable is a server that serves one test after the other.
type reusable struct {
	*Process
	dir   string
	fresh map[string]string // its state as it was started
}

// borrowed returns an idle server, or one that it starts, until the test ends.
// It returns nil if Reuse was not called.
func borrowed(t testing.TB) *Process {
	t.Helper()
	idle.mu.Lock()
	on := idle.on
	var r *reusable
	if n := len(idle.servers); n > 0 {
		r, idle.servers = idle.servers[n-1], idle.servers[:n-1]
	}
	idle.mu.Unlock()
	if !on {
		return nil
	}
	if r == nil {
		var err error
		if r, err = newReusable(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(r.giveBack)
	return r.Process
}

func newReusable(ctx context.Context) (_ *reusable, err error) {
	dir, err := os.MkdirTemp("", "tarn-redis-")
	if err != nil {
		return nil, fmt.Errorf("make the directory of redis: %w", err)
	}
	r := &reusable{dir: dir}
	if r.Process, err = Launch(ctx, dir); err != nil {
		_ = os.RemoveAll(dir) // there is nothing in it but a log that err has
		return nil, err
	}
	if r.fresh, err = r.state(ctx); err != nil {
		r.end()
		return nil, err
	}
	return r, nil
}

func (r *reusable) end() {
	r.Kill()
	_ = os.RemoveAll(r.dir) // at worst a log stays
}

// giveBack makes the server idle, or ends it if it is not as it was: a test has
// killed or frozen it, changed its settings or users, or given it a replica.
func (r *reusable) giveBack() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if !r.unbroken() || r.empty(ctx) != nil {
		r.end()
		return
	}
	if now, err := r.state(ctx); err != nil || !maps.Equal(now, r.fresh) {
		r.end()
		return
	}
	idle.mu.Lock()
	defer idle.mu.Unlock()
	idle.servers = append(idle.servers, r)
}

// empty cuts off the connections that the last test left, so that none of them
// writes later, then removes all it can have left.
func (r *reusable) empty(ctx context.Context) error {
	c := r.client()
	defer func() { _ = c.Close() }()
	_, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Do(ctx, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		p.Do(ctx, "CLIENT", "KILL", "TYPE", "pubsub")
		p.Do(ctx, "FLUSHALL", "SYNC")
		p.Do(ctx, "SCRIPT", "FLUSH", "SYNC")
		p.Do(ctx, "FUNCTION", "FLUSH", "SYNC")
		p.Do(ctx, "CONFIG", "RESETSTAT")
		p.Do(ctx, "SLOWLOG", "RESET")
		return nil
	})
	return err
}

// state is what a test may change of a server beside its data.
func (r *reusable) state(ctx context.Context) (map[string]string, error) {
	c := r.client()
	defer func() { _ = c.Close() }()
	state, err := c.ConfigGet(ctx, "*").Result()
	if err != nil {
		return nil, err
	}
	users, err := c.Do(ctx, "ACL", "LIST").StringSlice()
	if err != nil {
		return nil, err
	}
	slices.Sort(users)
	state["users of redistest"] = strings.Join(users, "\n")
	replication, err := c.Info(ctx, "replication").Result()
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(replication) {
		for _, field := range []string{"role:", "connected_slaves:", "repl_backlog_active:"} {
			if strings.HasPrefix(line, field) {
				state["replication of redistest, "+field] = strings.TrimSpace(line)
			}
		}
	}
	return state, nil
}
