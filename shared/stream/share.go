package stream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-redsync/redsync/v4/redis"
	goredis "github.com/redis/go-redis/v9"
)

const (
	// sharedAtOnce is the most commands in a shared pipeline, sharedUnderWay how many
	// of these may be under way.
	sharedAtOnce, sharedUnderWay = 500, 2
	// sharedWithin bounds a shared pipeline. Callers may give up before.
	sharedWithin = 3 * time.Second
)

// sharing sends commands of several callers in one pipeline: those that come while
// pipelines are under way make up the next. A lone caller's command goes at once.
//
// On a cluster each command goes by itself: a pipeline ends when all its nodes have
// answered, so one that is away would hold up the work of the others.
type sharing struct {
	s *Streams

	mu       sync.Mutex
	waiting  []*sharer
	underWay int
}

// sharer is a command of one caller.
type sharer struct {
	ctx  context.Context
	cmd  goredis.Cmder
	done chan struct{}
}

// needless reports whether the command takes a lock and its caller has gone.
func (c *sharer) needless() bool { return c.ctx.Err() != nil && c.cmd.Name() == "set" }

// do runs a command. After an error of ctx it may be yet to run, and its result is not
// to be looked at.
func (g *sharing) do(ctx context.Context, cmd goredis.Cmder) error {
	if _, cluster := g.s.client.(*goredis.ClusterClient); cluster {
		return g.s.client.Process(ctx, cmd)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	own := &sharer{ctx: ctx, cmd: cmd, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, own)
	lead := g.underWay < sharedUnderWay
	if lead {
		g.underWay++
	}
	g.mu.Unlock()
	if lead {
		go g.send()
	}
	select {
	case <-own.done:
		return cmd.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// send sends what waits until nothing does.
func (g *sharing) send() {
	for {
		g.mu.Lock()
		batch := g.waiting[:min(len(g.waiting), sharedAtOnce)]
		if g.waiting = g.waiting[len(batch):]; len(batch) == 0 {
			g.waiting = nil
			g.underWay--
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		g.exec(batch)
	}
}

func (g *sharing) exec(batch []*sharer) {
	ctx, cancel := context.WithTimeout(g.s.life, sharedWithin)
	defer cancel()
	if len(batch) == 1 && !batch[0].needless() {
		_ = g.s.client.Process(ctx, batch[0].cmd) // the command has its error
		close(batch[0].done)
		return
	}
	pipe := g.s.client.Pipeline()
	for _, c := range batch {
		if c.needless() {
			c.cmd.SetErr(c.ctx.Err())
			continue
		}
		_ = pipe.Process(ctx, c.cmd) // only queues
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	for _, c := range batch {
		close(c.done)
	}
}

// evalSha is a call of a script by its hash.
func evalSha(ctx context.Context, hash string, keys []string, args []any) *goredis.Cmd {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, "evalsha", hash, len(keys))
	for _, k := range keys {
		words = append(words, k)
	}
	cmd := goredis.NewCmd(ctx, append(words, args...)...)
	if len(keys) > 0 {
		cmd.SetFirstKeyPos(3)
	}
	return cmd
}

// runShared is run with a command that may share a pipeline.
func (s *Streams) runShared(ctx context.Context, script *goredis.Script, doing string, keys []string, args ...any) (any, error) {
	cmd := evalSha(ctx, script.Hash(), keys, args)
	err := s.shared.do(ctx, cmd)
	if noScript(err) {
		cmd = script.Eval(ctx, s.client, keys, args...)
		err = cmd.Err()
	}
	switch {
	case err != nil && !errors.Is(err, goredis.Nil):
		return nil, explain(err, doing)
	}
	return cmd.Val(), nil
}

// lockPool gives Redsync connections whose commands share pipelines.
type lockPool struct{ s *Streams }

// Get returns a connection that is for calls under ctx.
func (p lockPool) Get(ctx context.Context) (redis.Conn, error) {
	return lockConn{ctx, p.s}, nil
}

type lockConn struct {
	ctx context.Context
	s   *Streams
}

// Get returns the value of a key, "" if it is not there.
func (c lockConn) Get(name string) (string, error) {
	cmd := goredis.NewStringCmd(c.ctx, "get", name)
	if err := c.s.shared.do(c.ctx, cmd); err != nil && !errors.Is(err, goredis.Nil) {
		return "", err
	}
	return cmd.Val(), nil
}

// Set sets a key for ever.
func (c lockConn) Set(name, value string) (bool, error) {
	cmd := goredis.NewStatusCmd(c.ctx, "set", name, value)
	err := c.s.shared.do(c.ctx, cmd)
	return err == nil && cmd.Val() == "OK", err
}

// SetNX sets a key that is not there, for a time.
func (c lockConn) SetNX(name, value string, expiry time.Duration) (bool, error) {
	cmd := goredis.NewBoolCmd(c.ctx, "set", name, value, "px", max(milliseconds(expiry), 1), "nx")
	if err := c.s.shared.do(c.ctx, cmd); err != nil {
		return false, err
	}
	return cmd.Val(), nil
}

// Eval runs a script.
func (c lockConn) Eval(script *redis.Script, keysAndArgs ...any) (any, error) {
	keys := make([]string, script.KeyCount)
	for i := range keys {
		keys[i] = keysAndArgs[i].(string)
	}
	args := keysAndArgs[script.KeyCount:]
	cmd := evalSha(c.ctx, script.Hash, keys, args)
	err := c.s.shared.do(c.ctx, cmd)
	if noScript(err) {
		return c.s.client.Eval(c.ctx, script.Src, keys, args...).Result()
	}
	if err != nil && !errors.Is(err, goredis.Nil) {
		return nil, err
	}
	return cmd.Val(), nil
}

// ScriptLoad does nothing: Eval runs the source of a script that Redis does not have.
func (c lockConn) ScriptLoad(*redis.Script) error { return nil }

// PTTL returns how long a key has yet.
func (c lockConn) PTTL(name string) (time.Duration, error) {
	cmd := goredis.NewDurationCmd(c.ctx, time.Millisecond, "pttl", name)
	if err := c.s.shared.do(c.ctx, cmd); err != nil {
		return 0, err
	}
	return cmd.Val(), nil
}

// Close does nothing: the connections are the client's.
func (lockConn) Close() error { return nil }
