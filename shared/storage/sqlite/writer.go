package sqlite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tarn-sync/tarn/shared/fate"
)

// groupSize bounds the calls of one transaction, so that the first of them
// does not wait for thousands of others.
const groupSize = 1000

// errClosed is the answer to calls after Close.
var errClosed = fate.Errorf(fate.Unavailable, "the store is closed")

// writer makes all changes, in transactions shared by the calls that wait.
type writer struct {
	conn  *conn
	file  *file
	wal   walRestart
	calls chan *call

	// refused is why a change could not be written, nil once Ping could write.
	refused atomic.Pointer[error]

	mu     sync.RWMutex // held for reading while a call is queued
	closed bool
	idle   chan struct{} // closed when the loop has ended
}

// call is one caller's change.
type call struct {
	ctx context.Context
	// do makes the change and may be run twice: it must set all its results
	// each time.
	do    func(*tx) error
	state atomic.Int32
	err   error
	done  chan struct{}
}

// The states of a call: either the writer starts it or its caller leaves.
const (
	waiting int32 = iota
	started
	left
)

func newWriter(c *conn, f *file) *writer {
	w := &writer{
		conn:  c,
		file:  f,
		wal:   walRestart{path: f.path + "-wal", bound: walWaited, pause: walPause},
		calls: make(chan *call, groupSize),
		idle:  make(chan struct{}),
	}
	go w.loop()
	return w
}

// change runs do in a transaction and returns when that is on disk.
func (w *writer) change(ctx context.Context, do func(*tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := &call{ctx: ctx, do: do, done: make(chan struct{})}
	if err := w.queue(c); err != nil {
		return err
	}
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	if c.state.CompareAndSwap(waiting, left) {
		return ctx.Err()
	}
	<-c.done
	return c.err
}

func (w *writer) queue(c *call) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return errClosed
	}
	select {
	case w.calls <- c:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// end finishes the calls under way and ends the loop. It reports whether it was
// the first call to do so.
func (w *writer) end() (first bool) {
	w.mu.Lock()
	first = !w.closed
	w.closed = true
	w.mu.Unlock()
	if first {
		close(w.calls)
	}
	<-w.idle
	return first
}

// close closes the connection, after end.
func (w *writer) close() error { return w.conn.close() }

func (w *writer) loop() {
	defer close(w.idle)
	for first := range w.calls {
		// Callers that could run by now join first: a commit costs as much as many calls.
		runtime.Gosched()
		// The turn first, then the others: who comes while we wait for another
		// process still joins.
		err := w.file.turn.take()
		group := w.gather(first)
		if err == nil {
			err = w.inTurn(group)
			err = errors.Join(err, w.file.turn.pass())
		}
		for _, c := range group {
			if err != nil && c.err == nil {
				c.err = classify(err)
			}
			if err := c.err; refusesWrites(err) {
				w.refused.Store(&err)
			}
			close(c.done)
		}
	}
}

// inTurn runs a group on the file that was opened. A file that is replaced while
// the group is written has not got it, so no answer is given to that either.
func (w *writer) inTurn(group []*call) error {
	if len(group) == 0 {
		return nil
	}
	if err := w.file.check(); err != nil {
		return err
	}
	if err := w.file.keep(context.WithoutCancel(group[0].ctx), w.conn); err != nil {
		return err
	}
	err := w.commit(group)
	if err == nil {
		w.wal.look(w.conn)
	}
	return errors.Join(err, w.file.check())
}

// gather returns the first call and those that wait behind it, less those
// whose callers have left.
func (w *writer) gather(first *call) []*call {
	group := make([]*call, 0, 64)
	for c := first; c != nil; {
		if c.state.CompareAndSwap(waiting, started) {
			group = append(group, c)
		}
		if len(group) == groupSize {
			break
		}
		select {
		case c = <-w.calls: // nil once closed and empty
		default:
			c = nil
		}
	}
	return group
}

// commit runs a group in one transaction, or, if one of them fails, each in a
// transaction of its own. Each call has its own error; the one returned is
// about all that have none.
func (w *writer) commit(group []*call) error {
	failed, err := w.try(group)
	if failed == nil {
		return err
	}
	if len(group) == 1 {
		failed.err = classify(err)
		return nil
	}
	for _, c := range group {
		if _, err := w.try([]*call{c}); err != nil {
			c.err = classify(err)
		}
	}
	return nil
}

// try runs a group in one transaction: all of it, or nothing. failed is the
// call that was to blame for the error, if it was one of them.
func (w *writer) try(group []*call) (failed *call, err error) {
	// No caller's context ends a transaction: many share it.
	if _, err := w.conn.exec("BEGIN IMMEDIATE"); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	for _, c := range group {
		if err := c.do(&tx{w.conn}); err != nil {
			return c, errors.Join(err, w.rollback())
		}
	}
	if _, err := w.conn.exec("COMMIT"); err != nil {
		return nil, errors.Join(fmt.Errorf("commit: %w", err), w.rollback())
	}
	return nil, nil
}

// rollback ends the transaction, unless SQLite has ended it itself, as after some
// errors (disk full, for one).
func (w *writer) rollback() error {
	if !w.conn.inTransaction() {
		return nil
	}
	if _, err := w.conn.exec("ROLLBACK"); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	return nil
}

// tx is the writer's connection inside a transaction.
type tx struct{ *conn }
