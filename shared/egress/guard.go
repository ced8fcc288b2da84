package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// Guard says which addresses may be reached. The zero value allows public ones.
type Guard struct {
	// Networks are networks of private addresses that may be reached too: see
	// CheckNetwork.
	Networks []netip.Prefix
	// Loopback allows addresses of this machine.
	Loopback bool
	// OnlyLoopback refuses all others.
	OnlyLoopback bool
}

// class is what an address is for.
type class int

const (
	reserved class = iota // never reached
	private               // reached if a network allows it
	loopback
)

// special are the blocks of addresses that are not public.
// https://www.iana.org/assignments/iana-ipv4-special-registry and …/iana-ipv6-special-registry
var special = []struct {
	block netip.Prefix
	class class
	what  string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), reserved, "unspecified"},
	{netip.MustParsePrefix("10.0.0.0/8"), private, "private"},
	{netip.MustParsePrefix("100.64.0.0/10"), private, "shared by a carrier"},
	{netip.MustParsePrefix("127.0.0.0/8"), loopback, "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), reserved, "link-local"},
	{netip.MustParsePrefix("172.16.0.0/12"), private, "private"},
	{netip.MustParsePrefix("192.0.0.0/24"), reserved, "reserved for protocols"},
	{netip.MustParsePrefix("192.0.2.0/24"), reserved, "for documentation"},
	{netip.MustParsePrefix("192.88.99.0/24"), reserved, "a relay of 6to4"},
	{netip.MustParsePrefix("192.168.0.0/16"), private, "private"},
	{netip.MustParsePrefix("198.18.0.0/15"), reserved, "for benchmarks"},
	{netip.MustParsePrefix("198.51.100.0/24"), reserved, "for documentation"},
	{netip.MustParsePrefix("203.0.113.0/24"), reserved, "for documentation"},
	{netip.MustParsePrefix("224.0.0.0/4"), reserved, "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), reserved, "reserved"},
	{netip.MustParsePrefix("::1/128"), loopback, "loopback"},
	{netip.MustParsePrefix("2001::/23"), reserved, "reserved for protocols"}, // Teredo, ORCHID
	{netip.MustParsePrefix("2001:db8::/32"), reserved, "for documentation"},
	{netip.MustParsePrefix("2002::/16"), reserved, "6to4"},
	{netip.MustParsePrefix("3fff::/20"), reserved, "for documentation"},
	{netip.MustParsePrefix("fc00::/7"), private, "unique local"},
	{netip.MustParsePrefix("fe80::/10"), reserved, "link-local"},
	{netip.MustParsePrefix("ff00::/8"), reserved, "multicast"},
}

// metadata are addresses at which clouds answer their machines, with credentials among
// the rest, and which no block of special refuses: Alibaba, Azure, AWS, Google.
var metadata = []netip.Addr{
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd20:ce::254"),
}

var (
	// nat64 is the well-known prefix of RFC 6052, whose last 32 bits are of IPv4.
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
	// unicast has all public addresses of IPv6.
	unicast = netip.MustParsePrefix("2000::/3")
)

// Refused is the error of an address that may not be reached.
type Refused struct {
	Addr netip.Addr
	// What it is: "private".
	What string
	// Setting: a setting may allow it.
	Setting bool
}

// Error names the address.
func (e *Refused) Error() string {
	text := fmt.Sprintf("the address %s is %s and is not reached", e.Addr, e.What)
	if e.Setting {
		text += " unless a setting allows it"
	}
	return text
}

// Check returns a *Refused unless the address may be reached.
func (g Guard) Check(a netip.Addr) error {
	plain := standsFor(a)
	class, what := classOf(plain)
	switch {
	case what == "" && g.OnlyLoopback:
		return &Refused{Addr: a, What: "not loopback, without TLS"}
	case what == "":
		return nil
	case class == loopback && g.Loopback:
		return nil
	case class == private && !g.OnlyLoopback && slices.ContainsFunc(g.Networks, func(n netip.Prefix) bool { return n.Contains(plain) }):
		return nil
	}
	return &Refused{Addr: a, What: what, Setting: class != reserved && !g.OnlyLoopback}
}

// standsFor returns the address of IPv4 that one of IPv6 stands for, else the address
// without its zone.
func standsFor(a netip.Addr) netip.Addr {
	if a = a.Unmap().WithZone(""); nat64.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

// classOf says what an address is for that is not public, "" if it is public.
func classOf(a netip.Addr) (class, string) {
	if slices.Contains(metadata, a) {
		return reserved, "a metadata service"
	}
	for _, s := range special {
		if s.block.Contains(a) {
			return s.class, s.what
		}
	}
	if !a.Is4() && !unicast.Contains(a) {
		return reserved, "reserved"
	}
	return reserved, ""
}

// Control is for net.Dialer: it refuses a connection to an address that Check refuses.
func (g Guard) Control(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("the address %q cannot be checked: %w", address, err)
	}
	return g.Check(to.Addr())
}

// CheckNetwork returns an error unless a network may be one of a Guard's Networks: it lies
// within one block of private addresses.
func CheckNetwork(n netip.Prefix) error {
	for _, s := range special {
		if s.class == private && s.block.Bits() <= n.Bits() && s.block.Contains(n.Addr()) {
			return nil
		}
	}
	return fmt.Errorf("%s is not within one block of private addresses (10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, 192.168.0.0/16, fc00::/7)", n)
}
