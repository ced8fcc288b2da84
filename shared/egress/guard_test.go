package egress_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tarn-sync/tarn/shared/egress"
)

// Which addresses are reached, with no setting and with every one.
func TestGuard(t *testing.T) {
	everything := egress.Guard{Loopback: true, Networks: []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fc00::/7"),
	}}
	for class, addresses := range map[string]string{
		"public": "1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255 169.255.0.0 " +
			"172.15.255.255 172.32.0.0 192.0.1.1 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255 168.63.129.15 " +
			"2606:4700::1111 2606:4700::1111%eth0 2a00:1450::1 2001:4860:4860::8888 2001:200::1 ::ffff:1.1.1.1 64:ff9b::1.1.1.1",
		"private": "10.0.0.0 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 100.64.0.0 100.127.255.255 fc00::1 fc00::1%eth0 fdff::1 " +
			"::ffff:10.0.0.1 ::ffff:192.168.1.1 64:ff9b::10.0.0.1 64:ff9b::172.16.0.1 ::ffff:100.64.0.1",
		"loopback": "127.0.0.1 127.255.255.255 ::1 ::1%lo ::ffff:127.0.0.1 64:ff9b::127.0.0.1",
		"never": "0.0.0.0 0.1.2.3 255.255.255.255 240.0.0.1 224.0.0.1 239.255.255.255 169.254.169.254 169.254.0.1 192.0.0.192 192.0.0.8 " +
			"192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 100.100.100.200 168.63.129.16 " +
			":: ::2 ::7f00:1 ::a9fe:a9fe fe80::1 fe80::1%eth0 febf::1 fec0::1 ff02::1 ff0e::1 2001::1 2001:10::1 2001:db8::1 2002:7f00:1:: 2002:a00:1:: " +
			"3fff::1 64:ff9b:1::1 64:ff9b:1:7f00:1:: 100::1 fd00:ec2::254 fd00:ec2::254%eth0 fd20:ce::254 4000::1 " +
			"::ffff:169.254.169.254 ::ffff:0.0.0.0 ::ffff:100.100.100.200 64:ff9b::169.254.169.254 64:ff9b::a9fe:a9fe 64:ff9b::168.63.129.16",
	} {
		for _, text := range strings.Fields(addresses) {
			a := netip.MustParseAddr(text)
			require.Equal(t, class == "public", egress.Guard{}.Check(a) == nil, "%s, without a setting", text)
			require.Equal(t, class != "never", everything.Check(a) == nil, "%s, with every setting", text)
			require.Equal(t, class == "public" || class == "loopback", egress.Guard{Loopback: true}.Check(a) == nil, "%s, with loopback", text)
			require.Equal(t, class == "loopback", egress.Guard{Loopback: true, OnlyLoopback: true, Networks: everything.Networks}.Check(a) == nil, "%s, with loopback only", text)
		}
	}
}

// A network allows its own addresses and no others, in every form.
func TestNetworks(t *testing.T) {
	g := egress.Guard{Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}
	for text, allowed := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "64:ff9b::10.1.2.3": true, "10.2.0.1": false, "::ffff:10.2.0.1": false, "192.168.0.1": false, "127.0.0.1": false,
	} {
		require.Equal(t, allowed, g.Check(netip.MustParseAddr(text)) == nil, text)
	}
	var refused *egress.Refused
	require.ErrorAs(t, g.Check(netip.MustParseAddr("10.2.0.1")), &refused)
	require.EqualError(t, refused, "the address 10.2.0.1 is private and is not reached unless a setting allows it")
	for text, what := range map[string]string{"169.254.169.254": "link-local", "fe80::1%eth0": "link-local", "ff02::1": "multicast", "4000::1": "reserved", "fd00:ec2::254": "a metadata service"} {
		require.EqualError(t, g.Check(netip.MustParseAddr(text)), "the address "+text+" is "+what+" and is not reached")
	}
}

func TestCheckNetwork(t *testing.T) {
	for text, ok := range map[string]bool{
		"10.0.0.0/8": true, "10.1.0.0/16": true, "192.168.1.1/32": true, "fd12::/48": true, "100.64.0.0/10": true,
		"0.0.0.0/0": false, "10.0.0.0/7": false, "8.0.0.0/6": false, "127.0.0.0/8": false, "169.254.0.0/16": false, "::/0": false, "1.1.1.0/24": false, "::ffff:10.0.0.0/104": false,
	} {
		require.Equal(t, ok, egress.CheckNetwork(netip.MustParsePrefix(text)) == nil, text)
	}
}

// The guard is asked about the address of the connection, whatever the name was.
func TestControl(t *testing.T) {
	to, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = to.Close() }()
	_, port, err := net.SplitHostPort(to.Addr().String())
	require.NoError(t, err)
	for _, host := range []string{"127.0.0.1", "localhost", "::ffff:127.0.0.1", "0.0.0.0"} {
		d := net.Dialer{Control: egress.Guard{}.Control}
		_, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		var refused *egress.Refused
		require.ErrorAs(t, err, &refused, host)
	}
	d := net.Dialer{Control: egress.Guard{Loopback: true}.Control}
	c, err := d.DialContext(t.Context(), "tcp", to.Addr().String())
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Error(t, egress.Guard{Loopback: true}.Control("unix", "/run/a.sock", nil))
}
