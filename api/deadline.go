package api

import (
	"context"
	"sync/atomic"
	"time"
)

// deadlines provides contexts that end within a time of being taken, give or take an
// eighth. All requests of one eighth share a context, since a context and a timer for
// each cost more than verifying the signature.
//
// They have a deadline and are not cancelled by a timer: a Redis that does not
// answer keeps a command waiting until its context's deadline, whatever is
// cancelled meanwhile.
//
// They do not descend from the requests': a sender that hangs up does not take
// back the event it sent, and an append under way could not be recalled.
type deadlines struct {
	within  time.Duration
	current atomic.Pointer[shared]
}

type shared struct{ context.Context }

// take returns a context to be used at once.
func (d *deadlines) take() context.Context {
	if s := d.current.Load(); s != nil {
		return s
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.within+d.within/8) // by intent: see above
	s := &shared{ctx}
	if !d.current.CompareAndSwap(nil, s) {
		cancel()
		return d.take()
	}
	time.AfterFunc(d.within/8, func() { d.current.CompareAndSwap(s, nil) })
	context.AfterFunc(ctx, cancel)
	return s
}
