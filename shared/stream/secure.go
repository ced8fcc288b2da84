package stream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// TLS are the files of connections with TLS, PEM each. They are read for every new
// connection, so that what rotates in them needs no restart.
type TLS struct {
	// CA has the certificates of the authorities that vouch for Redis. "": the system's.
	CA string
	// Cert and Key are our certificate and its key. "": Redis asks for none.
	Cert, Key string
}

// config reads the files. The name that a server's certificate must have is that of
// the address that is dialled: each node of a cluster has its own.
func (t TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		text, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read the authorities of redis: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s has no certificate in PEM", t.CA)
		}
	}
	if t.Cert == "" && t.Key == "" {
		return c, nil
	}
	own, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate for redis and its key: %w", err)
	}
	c.Certificates = []tls.Certificate{own}
	return c, nil
}

// keepAlive finds out within 45 s that the other side is gone without a word.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 2}

// dialerOf dials in plain text, or with TLS if the address says so.
func dialerOf(t TLS, secure bool) (dial, error) {
	plain := &net.Dialer{Timeout: dialTimeout, KeepAliveConfig: keepAlive}
	if !secure {
		if t != (TLS{}) {
			return nil, errors.New("redis.tls is set, and the address does not ask for TLS: want rediss://")
		}
		return plain.DialContext, nil
	}
	if _, err := t.config(); err != nil {
		return nil, errors.New("redis.tls: " + err.Error()) // not wrapped: it is no server that is away
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := t.config()
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout) // of the handshake too
		defer cancel()
		return (&tls.Dialer{NetDialer: plain, Config: c}).DialContext(ctx, network, addr)
	}, nil
}

// account is who we are to Redis. It may change while connections are open: each
// new one logs in as the account of that moment.
type account struct{ now atomic.Pointer[[2]string] }

func (a *account) set(u *redis.UniversalOptions) { a.now.Store(&[2]string{u.Username, u.Password}) }

func (a *account) credentials() (user, password string) {
	now := a.now.Load()
	return now[0], now[1]
}

// SetURLs takes user and password of addresses that are otherwise those of Open. New
// connections log in with them; Redis lets open ones be, unless their user is removed.
func (s *Streams) SetURLs(urls []string) error {
	before, err := parseURLs(s.opts.URLs)
	if err != nil {
		return err
	}
	next, err := parseURLs(urls)
	if err != nil {
		return err
	}
	if !slices.Equal(next.Addrs, before.Addrs) || next.DB != before.DB || next.MasterName != before.MasterName ||
		next.IsClusterMode != before.IsClusterMode || (next.TLSConfig == nil) != (before.TLSConfig == nil) {
		return errors.New("redis.url: the servers, the database or TLS have changed, which takes a restart; only user and password are taken while running")
	}
	s.account.set(next)
	return nil
}
