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
	"github.com/danielgtaylor/huma/v2/adapters/humagin"

	"github.com/tarn-sync/tarn/shared/telemetry"
)

// Limits of a connection. The body's time is Options.ReadTimeout.
const (
	headerWithin = 5 * time.Second
	// answerWithin leaves room for the longest wait a client may ask for.
	answerWithin = longestWait + 15*time.Second
	// operationWithin bounds the calls to Redis and the store for one answer. The
	// rest of answerWithin is for sending the error.
	operationWithin = answerWithin - 5*time.Second
	// idleWithin is longer than the 10 minutes after which Google's balancers leave a
	// connection: the one that leaves first knows that no request is on its way.
	idleWithin  = 11 * time.Minute
	headerBytes = 32 << 10
)

// NewServer returns a server that a slow client cannot occupy: the header must
// arrive within 5 s, the whole request within readTimeout, an answer must be
// taken within 45 s or what its operation takes longer to wait, and an idle connection is closed after 11 minutes.
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

// streams marks, in its metadata, an operation that goes on sending until the client
// leaves.
const streams = "streams"

// longWait marks, in its metadata, an operation whose clients may wait longer than
// longestWait: it has the time.
const longWait = "long wait"

// waits is the metadata of an operation whose clients may wait so long.
func waits(most time.Duration) map[string]any { return map[string]any{longWait: most} }

// bounded gives an operation a deadline. A client that goes away ends its context too,
// but does not shorten a wait for Redis. An operation that streams bounds its own calls.
func bounded(ctx huma.Context, next func(huma.Context)) {
	if ctx.Operation().Metadata[streams] == true {
		next(ctx)
		return
	}
	most := operationWithin
	if wait, ok := ctx.Operation().Metadata[longWait].(time.Duration); ok {
		most += wait - longestWait
		control := http.NewResponseController(humagin.Unwrap(ctx).Writer)
		_ = control.SetWriteDeadline(time.Now().Add(answerWithin + wait - longestWait)) // a recorder of tests has none
	}
	within, cancel := context.WithTimeout(ctx.Context(), most)
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
	server.ErrorLog = telemetry.ServerLog(a.o.Logger)
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
