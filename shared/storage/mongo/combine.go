package mongo

import (
	"context"
	"slices"
	"sync"

	"github.com/tarn-sync/tarn/shared/fate"
)

// combiner makes one call of many: what comes while a call is under way waits
// and goes together with the next one. A lone caller does not wait, and
// under load the calls grow instead of becoming more.
type combiner[In, Out any] struct {
	// do handles a batch and answers in its order, or not at all.
	do func(ctx context.Context, in []In) ([]Out, error)
	// most is how many elements a batch may have before no more are added.
	most int
	// size is that of an element, in bytes, and mostBytes is how many a batch may
	// have before no more are added. Without size, bytes are not counted.
	size      func(In) int
	mostBytes int

	mu      sync.Mutex
	waiting []*request[In, Out]
	busy    bool
	closed  bool
	running sync.WaitGroup
}

// request is one caller's share of a batch.
type request[In, Out any] struct {
	ctx  context.Context
	in   []In
	out  []Out
	err  error
	done chan struct{}
}

// call handles one caller's elements, perhaps together with others'. When its
// context ends it leaves; what was sent by then may still take effect.
func (c *combiner[In, Out]) call(ctx context.Context, in []In) ([]Out, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The copy is read by the batch even after its caller has left.
	r := &request[In, Out]{ctx: ctx, in: slices.Clone(in), done: make(chan struct{})}
	if err := c.queue(r); err != nil {
		return nil, err
	}
	select {
	case <-r.done:
		return r.out, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *combiner[In, Out]) queue(r *request[In, Out]) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return fate.Errorf(fate.Unavailable, "the store is closed")
	}
	c.waiting = append(c.waiting, r)
	if !c.busy {
		c.busy = true
		c.running.Go(c.run)
	}
	return nil
}

// close finishes what waits and refuses what comes.
func (c *combiner[In, Out]) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.running.Wait()
}

// run sends batches until no caller waits.
func (c *combiner[In, Out]) run() {
	for batch := c.next(); batch != nil; batch = c.next() {
		c.send(batch)
		for _, r := range batch {
			close(r.done)
		}
	}
}

// next takes the requests of the next batch, less those whose callers have
// left. None ends the run.
func (c *combiner[In, Out]) next() (batch []*request[In, Out]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, bytes := 0, 0
	for len(c.waiting) > 0 && n < c.most && (c.size == nil || bytes < c.mostBytes) {
		r := c.waiting[0]
		c.waiting = c.waiting[1:]
		if r.ctx.Err() != nil {
			continue
		}
		batch = append(batch, r)
		n += len(r.in)
		if c.size != nil {
			for _, in := range r.in {
				bytes += c.size(in)
			}
		}
	}
	if batch == nil {
		c.busy, c.waiting = false, nil
	}
	return batch
}

// send handles a batch in one call. If the database refuses something in it
// for good, each request is sent by itself, so that the others do not pay.
func (c *combiner[In, Out]) send(batch []*request[In, Out]) {
	err := c.sendAll(batch)
	if class, _ := fate.Of(err); err == nil || class != fate.Permanent || len(batch) == 1 {
		return
	}
	for _, r := range batch {
		_ = c.sendAll([]*request[In, Out]{r}) // the error is the request's
	}
}

func (c *combiner[In, Out]) sendAll(batch []*request[In, Out]) error {
	var in []In
	for _, r := range batch {
		in = append(in, r.in...)
	}
	// A call that many share is not ended by one caller's context; the
	// client's own time-out bounds it.
	out, err := c.do(context.WithoutCancel(batch[0].ctx), in)
	for _, r := range batch {
		r.err = err
		if err == nil && out != nil {
			r.out, out = out[:len(r.in)], out[len(r.in):]
		}
	}
	return err
}
