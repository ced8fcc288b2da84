//go:build e2e && linux

package hosts

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lan is a bridge of this machine with a host, which is a network namespace, for each member
// of a fleet.
type lan struct {
	t      *testing.T
	prefix string // of all names
	net    string // the first three parts of all addresses

	mu       sync.Mutex
	hosts    map[string]host // by member
	forwards map[string]*forward
}

// host is a network namespace.
type host struct{ name, ip string }

// servers are the addresses of what members work with, in the network.
var servers = map[string]string{"redis": ".2", "provider": ".3", "store": ".4"}

func newLAN(t *testing.T) *lan {
	t.Helper()
	require.Zero(t, os.Geteuid(), "network namespaces want root")
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	l := &lan{t: t, prefix: fmt.Sprintf("tn%02x", b[0]), net: fmt.Sprintf("10.213.%d", b[1]), hosts: map[string]host{}, forwards: map[string]*forward{}}
	t.Cleanup(l.close)
	bridge := l.prefix + "b"
	// An address of its own: else a bridge has that of one of its ports, and another one when
	// a port is added, and hosts that know the old one reach it no more for half a minute.
	l.do("ip", "link", "add", bridge, "address", fmt.Sprintf("02:00:00:00:%02x:%02x", b[0], b[1]), "type", "bridge")
	l.do("ip", "addr", "add", l.net+".1/24", "dev", bridge)
	for _, last := range servers {
		l.do("ip", "addr", "add", l.net+last+"/24", "dev", bridge)
	}
	l.do("ip", "link", "set", bridge, "up")
	return l
}

func (l *lan) close() {
	for _, f := range l.forwards {
		f.close()
	}
	for _, h := range l.hosts {
		_ = command("ip", "netns", "del", h.name) // with its end of the cable, and so the other
	}
	_ = command("ip", "link", "del", l.prefix+"b")
}

// command runs a command, whose error has what it printed.
func command(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (l *lan) do(args ...string) {
	l.t.Helper()
	require.NoError(l.t, command(args...))
}

// Host makes the host of a member.
func (l *lan) Host(member string) (addr string, enter []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.hosts)
	h := host{fmt.Sprintf("%s-%s", l.prefix, strings.ReplaceAll(member, " ", "-")), fmt.Sprintf("%s.%d", l.net, 10+n)}
	near, far := fmt.Sprintf("%sn%d", l.prefix, n), fmt.Sprintf("%sf%d", l.prefix, n)
	l.hosts[member] = h
	for _, c := range [][]string{
		{"ip", "netns", "add", h.name},
		{"ip", "link", "add", near, "type", "veth", "peer", "name", far},
		{"ip", "link", "set", near, "master", l.prefix + "b", "up"},
		{"ip", "link", "set", far, "netns", h.name},
		{"ip", "-n", h.name, "addr", "add", h.ip + "/24", "dev", far},
		{"ip", "-n", h.name, "link", "set", far, "up"},
		{"ip", "-n", h.name, "link", "set", "lo", "up"},
		h.nft("add table inet cut"),
		h.nft("add chain inet cut in { type filter hook input priority 0; }"),
		h.nft("add chain inet cut out { type filter hook output priority 0; }"),
	} {
		if err := command(c...); err != nil {
			return "", nil, err
		}
	}
	return h.ip + ":8080", []string{"nsenter", "--net=/run/netns/" + h.name}, nil
}

// nft is the command that tells the host's nftables something.
func (h host) nft(words string) []string {
	return append([]string{"ip", "netns", "exec", h.name, "nft"}, strings.Fields(words)...)
}

// Seen puts a server at its address in the network.
func (l *lan) Seen(server, addr string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f, err := newForward(l.net+servers[server], addr)
	if err != nil {
		return "", err
	}
	l.forwards[server] = f
	return f.l.Addr().String(), nil
}

// way is a way on which packets are lost.
type way string

const (
	to   way = "to"
	from way = "from"
	both way = "both"
)

// cut loses everything between the host of a member and a server, on a way.
func (l *lan) cut(member, server string, w way) {
	h, ip := l.hosts[member], l.net+servers[server]
	if w != from {
		l.do(h.nft("add rule inet cut out ip daddr " + ip + " drop")...)
	}
	if w != to {
		l.do(h.nft("add rule inet cut in ip saddr " + ip + " drop")...)
	}
}

// lossy loses some of a hundred packets of a host, on both ways.
func (l *lan) lossy(member string, percent int) {
	for _, chain := range []string{"in", "out"} {
		l.do(l.hosts[member].nft(fmt.Sprintf("add rule inet cut %s numgen random mod 100 < %d drop", chain, percent))...)
	}
}

// heal ends what is wrong with a host's links.
func (l *lan) heal(member string) { l.do(l.hosts[member].nft("flush table inet cut")...) }

// forward is what stands before a server.
type forward struct {
	target string
	l      net.Listener
	work   sync.WaitGroup

	mu    sync.Mutex
	delay time.Duration // of each way
	links map[net.Conn]string
}

func newForward(ip, target string) (*forward, error) {
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		return nil, fmt.Errorf("stand before %s: %w", target, err)
	}
	f := &forward{target: target, l: l, links: map[net.Conn]string{}}
	f.work.Go(f.accept)
	return f, nil
}

// slow delays everything by so much on each way, from now on.
func (f *forward) slow(delay time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = delay
}

// hangUp closes the server's end of all connections from an address.
func (f *forward) hangUp(ip string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c, from := range f.links {
		if from == ip {
			_ = c.Close()
		}
	}
}

func (f *forward) close() {
	_ = f.l.Close()
	f.mu.Lock()
	for c := range f.links {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.work.Wait()
}

func (f *forward) accept() {
	for {
		c, err := f.l.Accept()
		if err != nil {
			return
		}
		f.work.Go(func() { f.serve(c) })
	}
}

func (f *forward) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	s, err := net.Dial("tcp", f.target)
	if err != nil {
		return
	}
	defer func() { _ = s.Close() }()
	ip, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	f.mu.Lock()
	f.links[c] = ip
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.links, c)
	}()
	var copies sync.WaitGroup
	copies.Go(func() { f.pass(s, c) })
	copies.Go(func() { f.pass(c, s) })
	copies.Wait()
}

// part is what was read at a time, and when it may arrive.
type part struct {
	bytes []byte
	due   time.Time
}

// pass passes on what comes, and closes both ends when one has ended.
func (f *forward) pass(to, from net.Conn) {
	parts := make(chan part, 4096)
	go func() {
		defer close(parts)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			f.mu.Lock()
			due := time.Now().Add(f.delay)
			f.mu.Unlock()
			if n > 0 {
				parts <- part{b[:n], due}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range parts {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.bytes); err != nil {
			break
		}
	}
	_, _ = to.Close(), from.Close()
	for range parts { // its reader ends
	}
}
