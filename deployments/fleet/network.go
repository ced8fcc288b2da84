package fleet

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

// Network puts the members of a fleet on hosts of their own.
type Network interface {
	// Host is where a member runs: host:port that it listens on, which this host reaches,
	// and the command that starts a program there, before its name. Members have it from
	// their first start on.
	Host(member string) (addr string, enter []string, err error)
	// Seen is the address, host:port, under which members reach a server of this host:
	// "redis", "store" or "provider", which listens at addr.
	Seen(server, addr string) (string, error)
}

// here is the network of a fleet that is all on this host.
type here struct{}

func (here) Host(string) (addr string, enter []string, err error) {
	addr, err = FreeAddr()
	return addr, nil, err
}

func (here) Seen(_, addr string) (string, error) { return addr, nil }

// seenURL is the URL under which members reach a server. One that names no port, such as
// that of a file, stays as it is; so do all where there is one host, ${file:…} in them too.
func (p Plan) seenURL(server, text string) (string, error) {
	if _, one := p.Network.(here); one {
		return text, nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("read the address of %s: %w", server, err)
	}
	if _, _, err := net.SplitHostPort(u.Host); err != nil {
		return text, nil
	}
	seen, err := p.Network.Seen(server, u.Host)
	if err != nil {
		return "", fmt.Errorf("show the members %s: %w", server, err)
	}
	return strings.Replace(text, u.Host, seen, 1), nil
}

// seen are the addresses of what the members work with, as they reach it.
func (f *Fleet) seen() (redis []string, store, simulator string, err error) {
	for _, u := range f.redisURLs {
		at, err := f.plan.seenURL("redis", u)
		if err != nil {
			return nil, "", "", err
		}
		redis = append(redis, at)
	}
	if store, err = f.plan.seenURL("store", f.Database.URL()); err != nil {
		return nil, "", "", err
	}
	simulator, err = f.plan.Network.Seen("provider", f.Simulator.Addr)
	return redis, store, simulator, err
}
