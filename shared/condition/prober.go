package condition

import (
	"context"
	"sync"
	"time"

	"github.com/tarn-sync/tarn/shared/loops"
)

// Prober asks the probe path of one source for the whole process. One probe is under
// way at a time, and its callers share the answer.
type Prober struct {
	ask   func(context.Context) error
	every time.Duration

	mu   sync.Mutex
	last *answer // the probe under way, or the last one
}

// answer is that of one probe.
type answer struct {
	begun time.Time
	done  chan struct{} // closed when err is known
	err   error
	// void: its caller gave up, so it says nothing.
	void bool
}

// NewProber returns a prober. ask asks the probe path; every is the least time between
// two probes that Ask begins, and how long a bad answer is given again.
func NewProber(ask func(context.Context) error, every time.Duration) *Prober {
	return &Prober{ask: ask, every: every}
}

// Ask returns what the probe path answers now. It is for callers that have just had
// a bad answer to something else; all that ask meanwhile share one probe. A good
// answer clears the source only of what was seen before the probe began, so it is
// always of a probe that began after the call. A bad answer is the source's, so it
// is given again for a while. An error of ctx comes back as such.
func (p *Prober) Ask(ctx context.Context) error { return p.answer(ctx, p.every, false) }

// Recent returns what the probe path has just answered, well or not, or answers
// now. It is for decisions that can be taken back.
func (p *Prober) Recent(ctx context.Context) error { return p.answer(ctx, p.every, true) }

// Fresh returns the answer of a probe that begins after the call, at once. It is for
// the process that has the fleet's right to end a pause.
func (p *Prober) Fresh(ctx context.Context) error { return p.answer(ctx, 0, false) }

func (p *Prober) answer(ctx context.Context, every time.Duration, recent bool) error {
	called := time.Now()
	for {
		p.mu.Lock()
		last := p.last
		wait := time.Duration(0)
		switch {
		case last == nil:
		case !last.over():
			p.mu.Unlock()
			select {
			case <-last.done:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		case last.void:
		case last.begun.After(called) || (recent || last.err != nil) && time.Since(last.begun) < every:
			p.mu.Unlock()
			return last.err
		default:
			wait = every - time.Since(last.begun)
		}
		if wait <= 0 {
			next := &answer{begun: time.Now(), done: make(chan struct{})}
			p.last = next
			p.mu.Unlock()
			next.of(ctx, p.ask)
			if next.err != nil && ctx.Err() == nil && p.forgot(next) {
				continue
			}
			return next.err
		}
		p.mu.Unlock()
		if !loops.Sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// Forget drops what was asked until now, since the source has been found well
// meanwhile. A bad answer that is under way is asked for again.
func (p *Prober) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = nil
}

func (p *Prober) forgot(a *answer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last != a
}

// of asks, and tells all who wait; if it panics, that it says nothing.
func (a *answer) of(ctx context.Context, ask func(context.Context) error) {
	a.void = true
	defer close(a.done)
	err := ask(ctx)
	if ctx.Err() != nil {
		a.err = ctx.Err()
		return
	}
	a.err, a.void = err, false
}

func (a *answer) over() bool {
	select {
	case <-a.done:
		return true
	default:
		return false
	}
}
