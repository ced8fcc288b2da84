package redistest

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"testing"
)

// Proxy passes data between clients and a server, and loses replies on request.
type Proxy struct {
	l    net.Listener
	work sync.WaitGroup

	mu      sync.Mutex
	target  string
	replace [][2][]byte // what replies hold, and what is passed on in its place
	links   map[*link]bool
	refuses bool
	losing  []byte // lose the reply to the next request that contains it
	lost    chan struct{}
	stalls  []byte // a request that contains it goes no further
	stalled chan struct{}
}

// NewProxy starts a proxy before a server. The test ends it.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	p, err := Before(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Before starts a proxy before a TCP server of any kind, host:port, which need
// not be up yet. Close ends it.
func Before(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the proxy: %w", err)
	}
	p := &Proxy{target: target, l: l, links: map[*link]bool{}}
	p.work.Go(p.accept)
	return p, nil
}

// URL returns the address of the proxy as redis://…
func (p *Proxy) URL() string { return "redis://" + p.Addr() }

// Addr returns the address of the proxy as host:port.
func (p *Proxy) Addr() string { return p.l.Addr().String() }

// LoseReply lets the next request that contains text reach the server, then
// closes its connection before the reply comes back. The channel is closed
// when that has happened: the server has run the request.
func (p *Proxy) LoseReply(text string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.losing, p.lost = []byte(text), make(chan struct{})
	return p.lost
}

// To sends new connections to another server, host:port, from now on. Those there
// are stay where they are, as they do when an address is moved.
func (p *Proxy) To(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}

// PrefixErrors passes READONLY errors on with "ERR " before them, as managed
// proxies do.
func (p *Proxy) PrefixErrors() { p.Replace("-READONLY ", "-ERR READONLY ") }

// Replace passes replies on with one text in the place of another. Where it is in a string
// that Redis has counted, both are as long.
func (p *Proxy) Replace(text, by string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replace = append(p.replace, [2][]byte{[]byte(text), []byte(by)})
}

// Stall lets requests that contain text go no further from now on: no answer
// comes, and their connections stay open. The channel is closed at the first.
func (p *Proxy) Stall(text string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalls, p.stalled = []byte(text), make(chan struct{})
	return p.stalled
}

// Cut closes all connections there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
}

// Refuse closes all connections there are and every new one at once, until it
// is called with false.
func (p *Proxy) Refuse(yes bool) {
	p.mu.Lock()
	p.refuses = yes
	p.mu.Unlock()
	if yes {
		p.Cut()
	}
}

// Close ends the proxy and its connections.
func (p *Proxy) Close() {
	_ = p.l.Close()
	p.Refuse(true)
	p.work.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		server, err := net.Dial("tcp", target)
		if err != nil {
			_ = client.Close()
			continue
		}
		l := &link{proxy: p, client: client, server: server}
		if !p.keep(l) {
			l.close()
			continue
		}
		p.work.Go(func() {
			defer p.forget(l)
			p.work.Go(l.requests)
			l.replies()
		})
	}
}

// keep remembers a connection, unless it is refused.
func (p *Proxy) keep(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.refuses {
		p.links[l] = true
	}
	return !p.refuses
}

func (p *Proxy) forget(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// buffer is the most that is passed on at once, in bytes.
const buffer = 256 << 10

// link is one connection through the proxy.
type link struct {
	proxy          *Proxy
	client, server net.Conn

	mu   sync.Mutex
	lost chan struct{} // set: the next reply is not passed on
}

func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// requests passes on what the client sends, and notices the request whose
// reply is to be lost. Requests of tests are short, so it comes in one piece.
func (l *link) requests() {
	defer l.close()
	buf := make([]byte, buffer)
	for {
		n, err := l.client.Read(buf)
		if err != nil {
			return
		}
		l.proxy.mu.Lock()
		if p := l.proxy; p.losing != nil && bytes.Contains(buf[:n], p.losing) {
			l.mu.Lock()
			l.lost = p.lost
			l.mu.Unlock()
			p.losing, p.lost = nil, nil
		}
		stalls := l.proxy.stalls != nil && bytes.Contains(buf[:n], l.proxy.stalls)
		if stalls && l.proxy.stalled != nil {
			close(l.proxy.stalled)
			l.proxy.stalled = nil
		}
		l.proxy.mu.Unlock()
		if stalls {
			continue
		}
		if _, err := l.server.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (l *link) replies() {
	defer l.close()
	buf := make([]byte, buffer)
	for {
		n, err := l.server.Read(buf)
		if err != nil {
			return
		}
		l.mu.Lock()
		lost := l.lost
		l.mu.Unlock()
		if lost != nil {
			close(lost)
			return
		}
		if _, err := l.client.Write(l.proxy.passed(buf[:n])); err != nil {
			return
		}
	}
}

// passed is what the client gets of replies.
func (p *Proxy) passed(replies []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.replace {
		replies = bytes.ReplaceAll(replies, r[0], r[1])
	}
	return replies
}
