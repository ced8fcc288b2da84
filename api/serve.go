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
	// operationWithin bounds the calls to Redis and the store for one answer. The
	// rest of answerWithin is for sending the error.
	operationWithin = answerWithin - 5*time.Second
	idleWithin      = 2 * time.Minute
	headerBytes     = 32 << 10
)

// NewServer returns a server that a slow client cannot occupy: the header must
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

// bounded gives an operation a deadline. A client that goes away ends its context too,
// but does not shorten a wait for Redis.
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

// GCPercent is the best setting of the garbage collector for a process that only
// receives. Its live heap is a few megabytes, so at the usual 100 the collector runs
// dozens of times a second. This setting costs a few tens of megabytes.
const GCPercent = 400

// Serve serves on l until ctx ends, then stops accepting, lets requests under
// way finish for Options.Grace, records what was counted and returns nil. It is called once.
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

// stop stops the server gracefully, and closes the connections that take longer than
// that.
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
