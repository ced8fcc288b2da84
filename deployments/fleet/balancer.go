package fleet

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"
)

// answerWithin is how long an api may take before its caller gets an error
// instead: longer than Redis may take to confirm an event.
const answerWithin = 7 * time.Second

// balancer is one address before several: requests take turns. If one fails it
// tries no other: to the sender that is a failed delivery, to be repeated.
type balancer struct {
	server *http.Server
	served chan struct{}

	mu      sync.Mutex
	targets []string
	next    int
}

func newBalancer() (*balancer, string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("start the balancer: %w", err)
	}
	b := &balancer{served: make(chan struct{})}
	transport := &http.Transport{MaxIdleConnsPerHost: 256, ResponseHeaderTimeout: answerWithin}
	b.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: &httputil.ReverseProxy{
		Transport: transport,
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: b.turn()}) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}}
	go func() {
		defer close(b.served)
		_ = b.server.Serve(l) // it ends when it is closed
		transport.CloseIdleConnections()
	}()
	return b, l.Addr().String(), nil
}

func (b *balancer) add(addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.targets = append(b.targets, addr)
}

func (b *balancer) remove(addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.targets = slices.DeleteFunc(b.targets, func(t string) bool { return t == addr })
}

// turn returns the host whose turn it is; one that does not exist if none is there.
func (b *balancer) turn() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.targets) == 0 {
		return "127.0.0.1:1"
	}
	b.next++
	return b.targets[b.next%len(b.targets)]
}

func (b *balancer) close() {
	_ = b.server.Close() // requests that still wait are cut off
	<-b.served
}
