package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarn-sync/tarn/shared/event"
)

const (
	// maxBatch is the most entries of one batch, maxBatchBytes where it ends
	// once passed. Far more than callers wait at once; they bound how long the
	// first of them waits for its answer, and how long Redis does nothing else.
	maxBatch      = 256
	maxBatchBytes = 1 << 20
	// replicaWait is how long replicas have to confirm a batch.
	replicaWait = 50 * time.Millisecond
)

// appending is a run of entries that one caller wants in one batch, in order.
// A caller that stopped waiting must neither touch nor free it.
type appending struct {
	entries []entry
	further bool // all of them go in however full Redis is
	waits   bool // for replicas
	text    []byte
	cuts    int           // how much of text the entries have
	done    chan struct{} // receives when every entry has its answer
}

// appendings are reused: an append makes nothing else that is as large.
var appendings = sync.Pool{New: func() any { return &appending{done: make(chan struct{}, 1)} }}

// keptText is the largest text that is kept for reuse.
const keptText = 4 << 10

// takeAppending returns an appending of so many entries that waits for replicas.
func takeAppending(entries int) *appending {
	a := appendings.Get().(*appending)
	a.further, a.waits = false, true
	if cap(a.entries) < entries {
		a.entries = make([]entry, entries)
	}
	a.entries = a.entries[:entries]
	return a
}

// free gives back an appending that was answered.
func (a *appending) free() {
	if cap(a.text) > keptText {
		return // its entries are many too, and are not kept either
	}
	clear(a.entries)
	a.entries, a.text, a.cuts = a.entries[:0], a.text[:0], 0
	appendings.Put(a)
}

// cut returns what was appended to text since the last cut. It stays as it is when
// text grows into new memory.
func (a *appending) cut() value {
	v := a.text[a.cuts:len(a.text):len(a.text)]
	a.cuts = len(a.text)
	return v
}

// submit hands entries to the committers and waits until they are answered;
// each entry then has its own result.
func (s *Streams) submit(ctx context.Context, a *appending) error {
	if s.isFull() && !a.further {
		s.writes.refuse(ErrFull)
		return ErrFull
	}
	select {
	case s.queue <- a: // first alone: one channel costs less than three
	default:
		select {
		case s.queue <- a:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closed:
			return ErrClosed
		}
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
// timer: the first caller goes at once, and those that come while its batch is
// under way make up the next one. So a lone caller pays one round trip, and
// under load one call and one fsync of Redis confirm many appends.
//
// A further batch goes beside one under way once it is as large, so that Redis
// need not wait for us; a smaller one would cost an fsync that it can share.
func (s *Streams) commit() {
	var waiting batch
	back := make(chan struct{}) // a batch is no longer under way
	underWay, last := 0, 0
	closed := s.closed
	for {
		queue := s.queue
		if waiting.full() {
			queue = nil // callers wait there meanwhile
		}
		select {
		case a := <-queue:
			waiting.add(a)
			s.gather(&waiting)
		case <-back:
			underWay--
		case <-closed:
			closed = nil
			s.gather(&waiting)
		}
		for len(waiting.all) > 0 && (underWay == 0 || underWay < s.opts.Pipelines && waiting.entries >= last) {
			next := waiting
			waiting, last = batch{}, next.entries
			underWay++
			go func() {
				s.send(s.life, next.all)
				back <- struct{}{}
			}()
		}
		if closed == nil && underWay == 0 && len(s.queue) == 0 {
			return
		}
	}
}

// batch is what goes to Redis at once.
type batch struct {
	all     []*appending
	entries int
	bytes   int
}

func (b *batch) add(a *appending) {
	b.all = append(b.all, a)
	b.entries += len(a.entries)
	for i := range a.entries {
		b.bytes += a.entries[i].size()
	}
}

func (b *batch) full() bool { return b.entries >= maxBatch || b.bytes >= maxBatchBytes }

// gather adds what waits, without waiting for more.
func (s *Streams) gather(b *batch) {
	for !b.full() {
		select {
		case a := <-s.queue:
			b.add(a)
		default:
			return
		}
	}
}

// send sends a batch and wakes its callers. Those that wait for replicas hold up none
// that do not: the two halves go at once, each on a connection of its own.
func (s *Streams) send(ctx context.Context, batch []*appending) {
	if s.opts.WaitReplicas == 0 {
		s.sendAll(ctx, batch, false)
		return
	}
	// They are told apart before any is sent: one that is done may be another already.
	var free, waiting []*appending
	for _, a := range batch {
		if a.waits {
			waiting = append(waiting, a)
		} else {
			free = append(free, a)
		}
	}
	var halves sync.WaitGroup
	if len(free) > 0 {
		halves.Go(func() { s.sendAll(ctx, free, false) })
	}
	if len(waiting) > 0 {
		halves.Go(func() { s.sendAll(ctx, waiting, true) })
	}
	halves.Wait()
}

// sendAll sends appendings and wakes their callers, if waits once replicas have confirmed.
func (s *Streams) sendAll(ctx context.Context, batch []*appending, waits bool) {
	calls := s.calls(batch)
	cmds := make([]redis.Cmder, len(calls))
	for i := range calls {
		calls[i].cmd = s.command(calls[i].entries)
		cmds[i] = calls[i].cmd
	}
	exec := s.exec
	if waits {
		exec = s.execAndConfirm
	}
	exec(ctx, cmds)
	if again := unknownScript(cmds); len(again) > 0 {
		s.loadAndRepeat(ctx, again, exec)
	}
	for i := range calls {
		s.answer(&calls[i])
	}
	for _, a := range batch {
		a.done <- struct{}{} // never waits: there is room, and one answer
	}
}

// call is one call of the append script.
type call struct {
	entries []*entry
	cmd     *redis.StringSliceCmd
}

// calls divides the entries of a batch among calls of the append script: all
// in one, since a call costs Redis more than an entry, and its effects are one
// transaction in the AOF. On a cluster the keys of a call must lie on one node,
// so there is one for each shard. What goes in beyond the memory limit is called
// by another script.
func (s *Streams) calls(batch []*appending) []call {
	_, cluster := s.client.(*redis.ClusterClient)
	var calls []call
	type kind struct {
		shard   int
		further bool
	}
	of := map[kind]int{}
	for _, a := range batch {
		for i := range a.entries {
			e := &a.entries[i]
			k := kind{further: e.further}
			if cluster {
				k.shard = e.shard
			}
			n, ok := of[k]
			if !ok {
				n = len(calls)
				of[k], calls = n, append(calls, call{entries: make([]*entry, 0, len(batch))})
			}
			calls[n].entries = append(calls[n].entries, e)
		}
	}
	return calls
}

// command makes the command of a call.
func (s *Streams) command(entries []*entry) *redis.StringSliceCmd {
	script := appendScript
	if entries[0].further {
		script = furtherScript
	}
	args := make([]any, 0, 8+7*len(entries))
	args = append(args, "evalsha", script.Hash(), 2*len(entries))
	for _, e := range entries {
		args = append(args, &e.stream, &e.mark)
	}
	args = append(append(args, milliseconds(s.opts.DedupeTTL)), appendFields...)
	for _, e := range entries {
		args = append(args, &e.remembers, &e.key, &e.causeID, &e.head)
		if e.own {
			args = append(args, &e.payload)
		}
	}
	cmd := redis.NewStringSliceCmd(s.life, args...)
	args[firstKey] = string(entries[0].stream) // the client reads it to find the node
	cmd.SetFirstKeyPos(firstKey)
	return cmd
}

// firstKey is where the keys of a call begin.
const firstKey = 3

// appendFields are the names of the fields, as a call has them.
var appendFields = func() (names []any) {
	for _, name := range event.FieldNames() {
		names = append(names, name)
	}
	return names
}()

// answer gives each entry its part of a call's reply.
func (s *Streams) answer(c *call) {
	answers, err := c.cmd.Result()
	if err == nil && len(answers) != len(c.entries) {
		err = fmt.Errorf("redis answered %d of %d entries", len(answers), len(c.entries))
	}
	if errors.Is(err, ErrReplicas) && !c.entries[0].further {
		s.writes.refuse(err) // further signals go in all the same
	}
	for i, e := range c.entries {
		if e.err = err; err != nil {
			continue
		}
		e.answer = answers[i]
		if refused, ok := strings.CutPrefix(e.answer, "!"); ok {
			e.err = refusal(refused)
			s.writes.saw(e.err)
		}
	}
}

// refusal is what Redis said of one entry of a call that went well otherwise.
type refusal string

func (r refusal) Error() string { return string(r) }

// RedisError makes it an error that Redis replied, as redis.Error has it.
func (refusal) RedisError() {}

// loadAndRepeat repeats the calls that met a server without the script (it was
// restarted, or a replica was promoted). They did not run, so this is no
// repetition. All of a node meet the same, so their order stays.
func (s *Streams) loadAndRepeat(ctx context.Context, cmds []redis.Cmder, exec func(context.Context, []redis.Cmder)) {
	err := errors.Join(appendScript.Load(ctx, s.client).Err(), furtherScript.Load(ctx, s.client).Err())
	if err != nil {
		for _, c := range cmds {
			c.SetErr(err)
		}
		return
	}
	for _, c := range cmds {
		c.SetErr(nil)
	}
	exec(ctx, cmds)
	if len(unknownScript(cmds)) > 0 {
		s.writes.retire()
	}
}

func unknownScript[C redis.Cmder](cmds []C) []C {
	var found []C
	for _, c := range cmds {
		if noScript(c.Err()) {
			found = append(found, c)
		}
	}
	return found
}

// exec runs commands in one pipeline for each node. Results and errors are in
// the commands.
func (s *Streams) exec(ctx context.Context, cmds []redis.Cmder) {
	pipe := s.client.Pipeline()
	for _, c := range cmds {
		_ = pipe.Process(ctx, c) // only queues
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
}

// execAndConfirm is exec that waits for WaitReplicas replicas. Where too few confirm in
// time, commands that went well have ErrReplicas.
func (s *Streams) execAndConfirm(ctx context.Context, cmds []redis.Cmder) {
	var nodes sync.WaitGroup
	for node, own := range s.byNode(ctx, cmds) {
		nodes.Go(func() { s.execAndWait(ctx, node, own) })
	}
	nodes.Wait()
}

// byNode divides commands among the masters that hold their keys. WAIT counts
// for the connection it comes on and has no key to be routed by, so on a
// cluster the division cannot be left to the client.
func (s *Streams) byNode(ctx context.Context, cmds []redis.Cmder) map[*redis.Client][]redis.Cmder {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return map[*redis.Client][]redis.Cmder{s.client.(*redis.Client): cmds}
	}
	nodes := map[*redis.Client][]redis.Cmder{}
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

// keyOf returns the stream a call appends to first.
func keyOf(c redis.Cmder) string { return c.Args()[firstKey].(string) }

// execAndWait ends the pipeline in WAIT. Redis lets it wait for everything the
// server had written when the connection's last command ran, so it also covers
// a duplicate, whose entry another connection wrote.
func (s *Streams) execAndWait(ctx context.Context, node *redis.Client, cmds []redis.Cmder) {
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
	_, cluster := s.client.(*redis.ClusterClient)
	s.writes.confirmed(err, !cluster)
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
