package provider

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxAddress is how long the address of a page may be, escaped, in bytes.
const maxAddress = 8 << 10

// nextPath returns the path and query, under the base address, of an address that an
// answer gave for the next page. The key goes with every request, so an address that
// leads anywhere else is an error: to another host, port or scheme, with a user, or to
// a path that is not under that of the base. A relative address is relative to the
// call it is the answer to. One of http on the host of an https base is taken for https,
// since a server behind a proxy that ends TLS knows no better. Errors hold no part of the
// address, which may have secrets.
func nextPath(base *url.URL, asked call, address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", errors.New("address of the next page is none")
	}
	from, err := url.Parse(base.String() + asked.path)
	if err != nil {
		return "", errors.New("address of the page before cannot be read")
	}
	if climbs(u.Path) {
		return "", errors.New(`address of the next page has a step "..", ".", or a backslash`)
	}
	if u = from.ResolveReference(u); isBehindTLS(u, base) {
		u.Scheme, u.Host = base.Scheme, base.Host
	}
	switch {
	case u.Opaque != "" || u.Scheme != base.Scheme:
		return "", fmt.Errorf("address of the next page is not of the scheme of api_url, %s", base.Scheme)
	case u.User != nil:
		return "", errors.New("address of the next page names a user")
	case !sameHost(u, base):
		return "", errors.New("address of the next page is on another host than api_url")
	}
	rest, under := strings.CutPrefix(u.EscapedPath(), base.EscapedPath())
	if !under || !strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, "//") {
		return "", errors.New("address of the next page is not under the path of api_url")
	}
	if u.RawQuery != "" {
		rest += "?" + escapedQuery(u.RawQuery)
	}
	if len(base.String())+len(rest) > maxAddress {
		return "", fmt.Errorf("address of the next page is longer than %d bytes", maxAddress)
	}
	return rest, nil
}

// isBehindTLS reports whether an address is what a server makes of the base when it does
// not know that its proxy ends TLS: with http, on the same port or the usual one.
func isBehindTLS(u, base *url.URL) bool {
	return u.Scheme == "http" && base.Scheme == "https" && strings.EqualFold(u.Hostname(), base.Hostname()) &&
		(u.Port() == base.Port() || port(u) == "80" && port(base) == "443")
}

// climbs reports whether a path has steps that a server may resolve to another path.
func climbs(path string) bool {
	if strings.Contains(path, `\`) {
		return true
	}
	return slices.ContainsFunc(strings.Split(path, "/"), func(step string) bool { return step == "." || step == ".." })
}

// sameHost reports whether two addresses are of one host and port.
func sameHost(a, b *url.URL) bool {
	return strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// escapedQuery escapes what no request line may hold.
func escapedQuery(q string) string {
	var b strings.Builder
	for _, c := range []byte(q) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>\^{|}`+"`", c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
