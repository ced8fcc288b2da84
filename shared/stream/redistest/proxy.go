package redistest

import (
	"bytes"
	"net"
	"sync"
	"testing"
)

// Proxy stands between a client and a server and loses what it is told to.
type Proxy struct {
	t      testing.TB
	target string
	l      net.Listener
	work   sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	losing []byte // lose the reply to the next request that contains it
	lost   chan struct{}
}

// NewProxy starts a proxy before a server. The test ends it.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("start the proxy: %v", err)
	}
	p := &Proxy{t: t, target: s.Addr(), l: l, conns: map[net.Conn]bool{}}
	p.work.Go(p.accept)
	t.Cleanup(p.stop)
	return p
}

// URL returns the address of the proxy as redis://…
func (p *Proxy) URL() string { return "redis://" + p.l.Addr().String() }

// LoseReply lets the next request that contains text reach the server, then
// closes its connection before the reply comes back. The channel is closed
// when that has happened: the server has run the request.
func (p *Proxy) LoseReply(text string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.losing, p.lost = []byte(text), make(chan struct{})
	return p.lost
}

// Cut closes all connections there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *Proxy) stop() {
	_ = p.l.Close()
	p.Cut()
	p.work.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.keep(client, server)
		l := &link{proxy: p, client: client, server: server}
		p.work.Go(l.requests)
		p.work.Go(l.replies)
	}
}

func (p *Proxy) keep(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
}

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
	buf := make([]byte, 1<<20)
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
		l.proxy.mu.Unlock()
		if _, err := l.server.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (l *link) replies() {
	defer l.close()
	buf := make([]byte, 1<<20)
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
		if _, err := l.client.Write(buf[:n]); err != nil {
			return
		}
	}
}
