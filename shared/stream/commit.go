package stream

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// maxBatch is the most commands of one pipeline. Far more than callers
	// wait at once; it bounds how long the first of them waits for its answer.
	maxBatch = 256
	// replicaWait is how long replicas have to confirm a batch.
	replicaWait = 50 * time.Millisecond
)

// appending is a run of commands that one caller wants in one pipeline, in
// order. A caller that stopped waiting must not touch it again.
type appending struct {
	cmds []*redis.Cmd
	done chan struct{} // closed when every command has its answer
}

// submit hands commands to the committers and waits until they are answered;
// each command then has its own result.
func (s *Streams) submit(ctx context.Context, a *appending) error {
	if s.full.Load() {
		return ErrFull
	}
	select {
	case s.queue <- a:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return ErrClosed
	}
	select {
	case <-a.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.life.Done():
	}
	select {
	case <-a.done: // just before the end
		return nil
	default: // it came when the committers had gone
		return ErrClosed
	}
}

// commit sends what waits, again and again. This is group commit without a
// timer: the first caller goes at once, and those that come while its pipeline
// is under way make up the next one. So a lone caller pays one round trip, and
// under load one fsync of Redis confirms many appends.
func (s *Streams) commit() {
	batch := make([]*appending, 0, maxBatch)
	for {
		select {
		case a := <-s.queue:
			batch = s.gather(append(batch[:0], a))
			s.send(s.life, batch)
		case <-s.closed:
			if batch = s.gather(batch[:0]); len(batch) == 0 {
				return
			}
			s.send(s.life, batch)
		}
	}
}

// gather adds what waits, without waiting for more.
func (s *Streams) gather(batch []*appending) []*appending {
	n := 0
	for _, a := range batch {
		n += len(a.cmds)
	}
	for n < maxBatch {
		select {
		case a := <-s.queue:
			batch, n = append(batch, a), n+len(a.cmds)
		default:
			return batch
		}
	}
	return batch
}

// send sends a batch and wakes its callers.
func (s *Streams) send(ctx context.Context, batch []*appending) {
	cmds := make([]*redis.Cmd, 0, maxBatch)
	for _, a := range batch {
		cmds = append(cmds, a.cmds...)
	}
	s.exec(ctx, cmds)
	if again := unknownScript(cmds); len(again) > 0 {
		s.loadAndRepeat(ctx, again)
	}
	for _, a := range batch {
		close(a.done)
	}
}

// loadAndRepeat repeats the commands that met a server without the script (it
// was restarted, or a replica was promoted). They did not run, so this is no
// repetition. All of a node meet the same, so their order stays.
func (s *Streams) loadAndRepeat(ctx context.Context, cmds []*redis.Cmd) {
	if err := appendScript.Load(ctx, s.client).Err(); err != nil {
		for _, c := range cmds {
			c.SetErr(err)
		}
		return
	}
	for _, c := range cmds {
		c.SetErr(nil)
	}
	s.exec(ctx, cmds)
}

func unknownScript(cmds []*redis.Cmd) []*redis.Cmd {
	var found []*redis.Cmd
	for _, c := range cmds {
		if noScript(c.Err()) {
			found = append(found, c)
		}
	}
	return found
}

// exec runs commands in one pipeline for each node. Results and errors are in
// the commands.
func (s *Streams) exec(ctx context.Context, cmds []*redis.Cmd) {
	if s.opts.WaitReplicas == 0 {
		pipe := s.client.Pipeline()
		for _, c := range cmds {
			_ = pipe.Process(ctx, c) // only queues
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		return
	}
	var nodes sync.WaitGroup
	for node, own := range s.byNode(ctx, cmds) {
		nodes.Go(func() { s.execAndWait(ctx, node, own) })
	}
	nodes.Wait()
}

// byNode divides commands among the masters that hold their keys. WAIT counts
// for the connection it comes on and has no key to be routed by, so on a
// cluster the division cannot be left to the client.
func (s *Streams) byNode(ctx context.Context, cmds []*redis.Cmd) map[*redis.Client][]*redis.Cmd {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return map[*redis.Client][]*redis.Cmd{s.client.(*redis.Client): cmds}
	}
	nodes := map[*redis.Client][]*redis.Cmd{}
	for _, c := range cmds {
		node, err := cluster.MasterForKey(ctx, keyOf(c))
		if err != nil {
			c.SetErr(err)
			continue
		}
		nodes[node] = append(nodes[node], c)
	}
	return nodes
}

// keyOf returns the stream a command appends to.
func keyOf(c *redis.Cmd) string {
	if args := c.Args(); args[0] == "evalsha" {
		return args[3].(string)
	}
	return c.Args()[1].(string)
}

// execAndWait ends the pipeline in WAIT. Redis lets it wait for everything the
// server had written when the connection's last command ran, so it also covers
// a duplicate, whose entry another connection wrote.
func (s *Streams) execAndWait(ctx context.Context, node *redis.Client, cmds []*redis.Cmd) {
	pipe := node.Pipeline()
	for _, c := range cmds {
		_ = pipe.Process(ctx, c) // only queues
	}
	confirmed := redis.NewIntCmd(ctx, "wait", s.opts.WaitReplicas, replicaWait.Milliseconds())
	_ = pipe.Process(ctx, confirmed)
	_, _ = pipe.Exec(ctx) // each command has its own error
	err := confirmed.Err()
	if err == nil && confirmed.Val() < int64(s.opts.WaitReplicas) {
		err = ErrReplicas
	}
	for _, c := range cmds {
		if c.Err() == nil && err != nil {
			c.SetErr(err)
		}
		s.followMove(ctx, c.Err())
	}
}

// followMove reads the cluster's map again after a slot has moved; the next
// append then goes to the right master.
func (s *Streams) followMove(ctx context.Context, err error) {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok || err == nil {
		return
	}
	if _, moved := redis.IsMovedError(err); moved {
		cluster.ReloadState(ctx)
	}
}
