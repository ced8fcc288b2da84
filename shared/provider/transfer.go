package provider

import (
	"context"
	"errors"
	"io"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// minRate is how many bytes of an answer must come each second, on average.
	minRate = 1 << 10
	// graceShare of a request's timeout, and leastGrace at least, passes after the
	// first byte before the rate counts: a provider may send its header early.
	graceShare = 5
	leastGrace = time.Second
)

// errTooSlow is the cause of a request's end when its answer trickles.
var errTooSlow = errors.New("the answer comes too slowly")

// transfer ends a request whose answer has begun and comes more slowly than
// minRate. The timeout alone would let an answer of a byte a second hold one of
// the source's places for all of it. Before the first byte nothing is measured:
// a provider may need long to find the answer.
type transfer struct {
	cancel context.CancelCauseFunc
	grace  time.Duration
	bytes  atomic.Int64

	mu    sync.Mutex
	begun time.Time
	timer *time.Timer // nil while nothing is measured
}

// watchTransfer returns a context for a request, which ends with the cause
// errTooSlow. The caller calls stop.
func watchTransfer(ctx context.Context, timeout time.Duration) (context.Context, *transfer) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := &transfer{cancel: cancel, grace: max(timeout/graceShare, leastGrace)}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotFirstResponseByte: t.begin,
		// An interim answer is not the answer, which may take its time.
		Got1xxResponse: func(int, textproto.MIMEHeader) error { t.pause(); return nil },
	}), t
}

// body counts what is read of an answer's body.
func (t *transfer) body(b io.ReadCloser) io.ReadCloser {
	t.begin()
	return &countedBody{b, t}
}

// begin begins to measure, unless that has begun.
func (t *transfer) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil {
		t.begun = time.Now()
		t.timer = time.AfterFunc(t.grace, t.check)
	}
}

func (t *transfer) pause() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
}

// check ends the request if less has come than should have by now; else it looks
// again when what has come will no longer be enough.
func (t *transfer) check() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.timer == nil {
		return
	}
	enoughFor := time.Duration(t.bytes.Load()) * time.Second / minRate
	if left := max(enoughFor, t.grace) - time.Since(t.begun); left > 0 {
		t.timer.Reset(left)
		return
	}
	t.cancel(errTooSlow)
}

// stop ends measuring and the context.
func (t *transfer) stop() {
	t.pause()
	t.cancel(nil)
}

type countedBody struct {
	io.ReadCloser
	transfer *transfer
}

// Read counts what it reads.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.transfer.bytes.Add(int64(n))
	return n, err
}
