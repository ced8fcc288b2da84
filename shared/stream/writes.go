package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/fate"
)

// retireEvery is the least time between two retirements of all connections. An
// address that still leads to the demoted master would else be dialled for each
// command.
const retireEvery = 250 * time.Millisecond

// writes knows what last happened to writes, and leaves the connections to a
// Redis that is a master no more.
//
// Behind an address that is moved to a promoted replica (a Kubernetes Service, a
// DNS name, a proxy), connections stay where they are, and the former master
// answers READONLY on each of them, or MASTERDOWN. The client itself leaves one only if that is
// the answer to a command outside a pipeline, and if the proxy puts no "ERR "
// before it. So one such answer retires all connections there are: the pool
// leaves each when it is asked for it next.
type writes struct {
	refused    atomic.Pointer[string] // what Redis said; nil: the last write was taken, or none was tried
	generation atomic.Int64           // of connections; those of an earlier one are retired
	retired    atomic.Int64           // when, in ns since the epoch
	lacking    atomic.Bool            // too few replicas confirm; see confirmed
	onLack     func(bool)             // is called when lacking changes
}

// wordOOM begins Redis' answer to a write for which it has no memory.
const wordOOM = "OOM"

// saw looks at the outcome of a command.
func (w *writes) saw(err error) {
	if err == nil {
		return
	}
	if _, replied := err.(redis.Error); !replied { //nolint:errorlint // a reply is never wrapped
		return
	}
	if forbidden(err.Error()) {
		w.refuse(err)
		return
	}
	text := strings.TrimPrefix(err.Error(), "ERR ")
	switch word, _, _ := strings.Cut(text, " "); word {
	case "READONLY", "MASTERDOWN": // a replica; one without its master that is set not to answer then
		w.refuse(err)
		w.retire()
	case "MISCONF", "NOREPLICAS", "CLUSTERDOWN", wordOOM: // a full disk; fewer replicas than Redis is set to want; slots that no node serves; no memory left
		w.refuse(err)
	}
}

// confirmed looks at the outcome of a wait for replicas, of all masters or of one among
// several. One that was cut off says nothing of them, and that the replicas of one master
// confirm says nothing of the others': only an outcome of all ends a lack.
func (w *writes) confirmed(err error, all bool) {
	lacking := errors.Is(err, ErrReplicas)
	if !lacking && (err != nil || !all) {
		return
	}
	if w.lacking.Load() != lacking && w.lacking.Swap(lacking) != lacking && w.onLack != nil {
		w.onLack(lacking)
	}
}

// denied remembers that a script is not for us any more, by an ACL that was
// changed. Each write is a script; that INFO or CONFIG is denied refuses none.
func (w *writes) denied(cmd redis.Cmder) {
	if name, err := cmd.Name(), cmd.Err(); (name == "evalsha" || name == "eval") && hidden(err) {
		w.refuse(err)
	}
}

// forbidden reports whether Redis says that a script runs a command that the
// user may not: first its 7.0, then 7.2 and newer.
func forbidden(said string) bool {
	said = strings.TrimPrefix(said, "ERR ")
	return strings.HasPrefix(said, "The user executing the script can't run") || strings.Contains(said, "ACL failure in script")
}

func (w *writes) refuse(err error) {
	said := err.Error()
	w.refused.Store(&said)
}

// retire makes all connections there are be left. Besides READONLY, a script that
// is not known right after it was loaded is a reason: it was loaded into another
// Redis than the one that was asked.
func (w *writes) retire() {
	now, last := time.Now().UnixNano(), w.retired.Load()
	if now-last >= int64(retireEvery) && w.retired.CompareAndSwap(last, now) {
		w.generation.Add(1)
	}
}

// dialer returns next with connections that know whether they are retired.
func (w *writes) dialer(next dial) dial {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		generation := w.generation.Load()
		c, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &conn{Conn: c, writes: w, generation: generation}, nil
	}
}

type dial = func(ctx context.Context, network, addr string) (net.Conn, error)

// conn is a connection that may be retired.
type conn struct {
	net.Conn
	writes     *writes
	generation int64
}

var errRetired = errors.New("connection is to a redis that took no writes")

// SyscallConn is what the pool asks for before it gives a connection out, to see
// whether the other side has closed it; an error makes it leave the connection.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	if c.generation != c.writes.generation.Load() {
		return nil, errRetired
	}
	if inner, ok := c.Conn.(syscall.Conn); ok {
		return inner.SyscallConn()
	}
	return sealed{}, nil
}

// sealed replaces the socket below TLS, which the pool does not look at.
type sealed struct{}

func (sealed) Control(func(fd uintptr)) error    { return nil }
func (sealed) Read(func(fd uintptr) bool) error  { return nil }
func (sealed) Write(func(fd uintptr) bool) error { return nil }

// watch has w see every outcome of a client.
func (w *writes) watch(c redis.UniversalClient) {
	switch c := c.(type) {
	case *redis.ClusterClient: // its nodes are asked without it, too
		c.OnNewNode(func(node *redis.Client) { node.AddHook(w) })
	default:
		c.AddHook(w)
	}
}

// DialHook leaves dialling as it is.
func (w *writes) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook looks at the outcome of a command.
func (w *writes) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		w.denied(cmd)
		w.saw(err)
		return err
	}
}

// ProcessPipelineHook looks at the outcome of each command of a pipeline. A connection on
// which Redis refuses the login (WRONGPASS, or too many clients) leaves the commands
// without an error, as if they had run: they get that one.
func (w *writes) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if err != nil && !slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return c.Err() != nil }) {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
		}
		for _, cmd := range cmds {
			w.denied(cmd)
			w.saw(cmd.Err())
		}
		return err
	}
}

// Ping reports whether Redis answers and takes writes: one that answers and took
// no write when last asked to is fate.ErrNoWrites, until it takes one. Nothing is
// written while all is well. One that may evict accepted events is not well.
func (s *Streams) Ping(ctx context.Context) error {
	if err := s.client.Ping(ctx).Err(); err != nil && s.writes.refused.Load() == nil {
		return fmt.Errorf("ping redis: %w", err)
	}
	said := s.writes.refused.Load()
	if said != nil && (strings.HasPrefix(*said, noPermission) || forbidden(*said)) {
		return s.tryRights(ctx, said)
	}
	if said == nil {
		return s.Evicting()
	}
	try := tryToRemove
	if text := strings.TrimPrefix(*said, "ERR "); text == ErrFull.Error() || strings.HasPrefix(text, wordOOM) {
		try = tryToKeep
	}
	if err := s.tryWrite(ctx, try); err != nil {
		return fmt.Errorf("redis %w: %s: %w", fate.ErrNoWrites, *said, err)
	}
	s.writes.refused.CompareAndSwap(said, nil)
	return nil
}

// tryRights asks for all rights as at the start. One write that goes through
// proves nothing about the others' commands.
func (s *Streams) tryRights(ctx context.Context, said *string) error {
	if err := s.checkRights(ctx); err != nil {
		return fmt.Errorf("redis %w: %s: %w", fate.ErrNoWrites, *said, err)
	}
	s.writes.refused.CompareAndSwap(said, nil)
	return nil
}

// The writes that are tried: a removal, which Redis makes without memory too, and
// one that needs some, after which nothing is left.
const (
	tryToRemove = "#!lua flags=allow-oom\nreturn redis.call('DEL', KEYS[1])"
	tryToKeep   = "return redis.call('SET', KEYS[1], '', 'PX', 1)"
)

// tryWrite runs a script on every node, and waits for replicas as an append does.
func (s *Streams) tryWrite(ctx context.Context, script string) error {
	shards := 1
	if _, cluster := s.client.(*redis.ClusterClient); cluster {
		shards = s.opts.Shards // some on each node
	}
	cmds := make([]redis.Cmder, shards)
	for shard := range cmds {
		cmds[shard] = redis.NewCmd(ctx, "eval", script, 1, s.keys.nothing(shard))
		cmds[shard].SetFirstKeyPos(firstKey)
	}
	exec := s.exec
	if s.opts.WaitReplicas > 0 {
		exec = s.execAndConfirm
	}
	exec(ctx, cmds)
	for _, c := range cmds {
		if err := c.Err(); err != nil {
			return err
		}
	}
	if s.opts.WaitReplicas > 0 {
		s.writes.confirmed(nil, true)
	}
	return nil
}
