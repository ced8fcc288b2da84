package stream

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// poolSize is the most connections for commands that do not block (see Waiter for
// those that do), to each node. Commands take microseconds: this many only wait when Redis does.
const poolSize = 64

// connBuffer is the size of each of the two buffers of such a connection, in bytes: half
// of the client's default, since there may be poolSize of them.
const connBuffer = 16 << 10

// dialTimeout bounds the making of a connection. It is the client's own default, which does
// not hold for a dialer of ours.
const dialTimeout = 5 * time.Second

// connect returns a client of Redis, which logs in as a. w sees what happens to writes.
//
// It repeats no command by itself (MaxRetries -1): a repeated XADD would be a second
// entry. The cluster client repeats all the same, so scripts must bear it.
//
// A client dials a server that does not answer up to five times, which hides a short
// absence of Redis from callers. A cluster's client dials once: it repeats the command as
// well, and asks the other nodes in between who the master is now. Five dials each time
// would put that off by seconds.
func connect(o Options, w *writes, a *account) (redis.UniversalClient, error) {
	u, err := parseURLs(o.URLs)
	if err != nil {
		return nil, err
	}
	u.MaxRetries = -1
	if u.IsClusterMode {
		u.DialerRetries = 1
	}
	u.Protocol = 2 // scripts answer in it, and replies need no search for pushes
	u.DisableIdentity = true
	u.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

	dialer, err := dialerOf(o.TLS, u.TLSConfig != nil)
	if err != nil {
		return nil, err
	}
	u.Dialer = w.dialer(dialer)
	a.set(u)
	u.Username, u.Password, u.CredentialsProvider = "", "", a.credentials

	u.PoolSize, u.ReadBufferSize, u.WriteBufferSize = poolSize, connBuffer, connBuffer
	u.ContextTimeoutEnabled = true
	client := redis.NewUniversalClient(u)
	w.watch(client)
	return client, nil
}

func parseURLs(urls []string) (*redis.UniversalOptions, error) {
	if len(urls) == 0 {
		return nil, errors.New("no redis address: set redis.url, for example redis://127.0.0.1:6379")
	}
	var all *redis.UniversalOptions
	for _, raw := range urls {
		u, err := parseURL(raw)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = u
			continue
		}
		if u.MasterName != "" || all.MasterName != "" {
			return nil, errors.New("redis addresses: a sentinel is one redis+sentinel:// address that lists its hosts")
		}
		all.Addrs = append(all.Addrs, u.Addrs...)
	}
	if len(all.Addrs) > 1 && all.MasterName == "" {
		all.IsClusterMode = true
	}
	if all.IsClusterMode && all.DB != 0 {
		return nil, fmt.Errorf("redis address names database %d: a cluster has only database 0", all.DB)
	}
	return all, nil
}

func parseURL(raw string) (*redis.UniversalOptions, error) {
	raw = escaped(raw)
	switch scheme, rest, _ := strings.Cut(raw, "://"); scheme {
	case "redis", "rediss":
		o, err := redis.ParseURL(raw)
		if err != nil {
			return nil, badURL(err)
		}
		return simple(o), nil
	case "redis+cluster", "rediss+cluster":
		o, err := redis.ParseURL(strings.TrimSuffix(scheme, "+cluster") + "://" + rest)
		if err != nil {
			return nil, badURL(err)
		}
		u := simple(o)
		u.IsClusterMode = true
		return u, nil
	case "redis+sentinel", "rediss+sentinel":
		return parseSentinel(strings.TrimSuffix(scheme, "+sentinel"), rest)
	default:
		return nil, fmt.Errorf("redis address: scheme %q is none of redis, rediss, redis+sentinel, redis+cluster", scheme)
	}
}

// plain are the characters besides letters and digits that user and password have as they
// are in an address, with the colon between them: RFC 3986, section 3.2.1.
const plain = "-._~!$&'()*+,;=:"

// escaped returns an address with all other characters of user and password percent-encoded.
// A password that was generated holds any, and comes from a file as it is: a slash in it
// would end the address, and what follows it would be in the error. The last @ ends it. A %
// before two hexadecimal digits is taken for an encoding.
func escaped(raw string) string {
	scheme, rest, _ := strings.Cut(raw, "://")
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return raw
	}
	var b strings.Builder
	b.WriteString(scheme + "://")
	for i := range at {
		c := rest[i]
		_, err := hex.DecodeString(rest[min(i+1, at):min(i+3, at)])
		encoded := c == '%' && i+2 < at && err == nil
		if encoded || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String() + rest[at:]
}

func simple(o *redis.Options) *redis.UniversalOptions {
	return &redis.UniversalOptions{
		Addrs: []string{o.Addr}, DB: o.DB, Username: o.Username, Password: o.Password, TLSConfig: o.TLSConfig,
	}
}

// parseSentinel reads "user:password@host:port,host:port/master/db". The
// user and password are those of the master. Sentinels are given the password too, as the
// user default: one that wants none takes any, and those that want one commonly want that.
func parseSentinel(scheme, rest string) (*redis.UniversalOptions, error) {
	user, hosts := "", rest
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		user, hosts = rest[:at+1], rest[at+1:]
	}
	hosts, path, _ := strings.Cut(hosts, "/")
	master, db, _ := strings.Cut(path, "/")
	if hosts == "" || master == "" {
		return nil, errors.New("redis sentinel address: want redis+sentinel://host:port,host:port/master")
	}
	addrs := strings.Split(hosts, ",")
	o, err := redis.ParseURL(scheme + "://" + user + addrs[0] + "/" + db)
	if err != nil {
		return nil, badURL(err)
	}
	u := simple(o)
	u.Addrs, u.MasterName, u.SentinelPassword = addrs, master, o.Password
	return u, nil
}

// badURL leaves the address out: it may hold a password.
func badURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("redis address: %w; want redis://user:password@host:port/db", err)
}
