package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// Limits of a connection. The body's time is Options.ReadTimeout.
const (
	headerWithin = 5 * time.Second
	// answerWithin leaves room for the longest wait a client may ask for.
	answerWithin = longestWait + 15*time.Second
	// operationWithin bounds what is asked of Redis and the store for one answer;
	// what it leaves of answerWithin is for telling so.
	operationWithin = answerWithin - 5*time.Second
	idleWithin      = 2 * time.Minute
	headerBytes     = 32 << 10
)

// NewServer returns a server that a slow client cannot hold: the header must
// arrive within 5 s, the whole request within readTimeout, an answer must be
// taken within 45 s, and an idle connection is closed after 2 minutes.
func NewServer(h http.Handler, readTimeout time.Duration) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: min(headerWithin, readTimeout),
		ReadTimeout:       readTimeout,
		WriteTimeout:      answerWithin,
		IdleTimeout:       idleWithin,
		MaxHeaderBytes:    headerBytes,
	}
}

// bounded gives an operation a deadline. A client that goes away ends its context
// too, but nothing waits for Redis any shorter for that.
func bounded(ctx huma.Context, next func(huma.Context)) {
	within, cancel := context.WithTimeout(ctx.Context(), operationWithin)
	defer cancel()
	next(huma.WithContext(ctx, within))
}

// Run listens on the configured address and serves until ctx ends; see Serve.
// Without tokens it is not reachable from other machines; see ListenAddr.
func (a *API) Run(ctx context.Context) error {
	addr, err := ListenAddr(a.o.Addr, a.o.Tokens)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for http: %w", err)
	}
	return a.Serve(ctx, l)
}

// GCPercent is what the collector is best set to in a process that does nothing
// but receive: its live heap is a few megabytes, so at the usual 100 it is
// collected dozens of times a second. It costs a few tens of megabytes.
const GCPercent = 400

// Serve serves on l until ctx ends, then stops accepting, lets requests under
// way finish for Options.Grace, puts what was counted on record and returns
// nil. It is called once.
func (a *API) Serve(ctx context.Context, l net.Listener) error {
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { a.runLoops(loops) })
	// The loops end after the last request: that one may still be refused.
	defer running.Wait()
	defer stopLoops()

	server := NewServer(a.engine, a.o.ReadTimeout)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve http: %w", err)
	case <-ctx.Done():
	}
	close(a.leaving)
	err := a.stop(context.WithoutCancel(ctx), server)
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// stop ends the server gracefully, and the connections of those who take
// longer than that.
func (a *API) stop(ctx context.Context, server *http.Server) error {
	ctx, cancel := context.WithTimeout(ctx, a.o.Grace)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		a.o.Logger.WarnContext(ctx, "requests did not finish in time and were cut off", "grace", a.o.Grace)
		err = server.Close()
	}
	if err != nil {
		return fmt.Errorf("stop the http server: %w", err)
	}
	return nil
}
