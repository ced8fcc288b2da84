// Command stripemock runs stripe-mock, which answers by Stripe's OpenAPI document, on
// a port of its own. It prints its address, "127.0.0.1:12111", and serves until its
// standard input ends: a test holds the other end, so that the server goes when the
// test does, even if the test is killed.
//
// It refuses requests of another version of the API than that of its document.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/stripe/stripe-mock/embedded"
	"github.com/stripe/stripe-mock/server"
)

func main() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() error {
	out, err := os.Stdout, error(nil)
	// What the server prints of itself and of each request, no one reads.
	if os.Stdout, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
		return fmt.Errorf("silence the server: %w", err)
	}
	spec, err := server.LoadSpec(embedded.OpenAPISpec, "")
	if err != nil {
		return fmt.Errorf("load the document: %w", err)
	}
	fixtures, err := server.LoadFixtures(embedded.OpenAPIFixtures, "")
	if err != nil {
		return fmt.Errorf("load the fixtures: %w", err)
	}
	stub, err := server.NewStubServer(fixtures, spec, true, false)
	if err != nil {
		return fmt.Errorf("make the server: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return fmt.Errorf("print the address: %w", err)
	}
	s := &http.Server{Handler: http.HandlerFunc(stub.HandleRequest), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, the test is gone
		_ = s.Shutdown(context.Background())
	}()
	if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
