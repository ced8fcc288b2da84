package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var errNoList = errors.New("want a list: a,b or [a, b]")

// Names are parts of URLs, Redis keys and collection names.
var namePattern = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// Braces in a prefix would move Redis Cluster's hash tag.
var prefixPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,32}$`)

// tooShort says how to make a secret that is long enough.
const tooShort = "is too short: at least %d characters, such as `openssl rand -hex 32` prints"

func nameOK(name string) bool { return namePattern.MatchString(name) }

// minSecret is the least length of what lets requests in, a bearer token or the
// secret of a signature: shorter ones can be guessed. A provider's API key is
// its own choice and has no bound here.
const minSecret = 16

// within checks the bounds in the tags of a field.
func (f field) within(v reflect.Value) error {
	if len(f.oneOf) > 0 && !slices.Contains(f.oneOf, v.String()) {
		return fmt.Errorf("want one of %s", strings.Join(f.oneOf, ", "))
	}
	if f.forever && v.Int() == 0 {
		return nil
	}
	if f.min != "" && less(v, f.bound(f.min)) {
		return fmt.Errorf("is too small: at least %s", f.min)
	}
	if f.max != "" && less(f.bound(f.max), v) {
		return fmt.Errorf("is too large: at most %s", f.max)
	}
	return nil
}

func (f field) bound(text string) reflect.Value {
	v := reflect.New(f.Type).Elem()
	if err := setScalar(v, text, false); err != nil {
		panic(fmt.Sprintf("config: bound of %s: %v", f.Name, err)) // a mistake in a tag, found by any test
	}
	return v
}

func less(a, b reflect.Value) bool {
	if a.Kind() == reflect.Float64 {
		return a.Float() < b.Float()
	}
	return a.Int() < b.Int()
}

// check has the rules beyond the type and bounds of one value. Values
// already reported are passed over: one mistake, one line.
func (d *decoder) check(c *Config) {
	d.required(reflect.ValueOf(*c), "")
	d.checkAddr("http.addr", c.HTTP.Addr)
	d.checkAddr("http.worker_addr", cmp.Or(c.HTTP.WorkerAddr, c.HTTP.Addr))
	d.checkAddr("http.reconciler_addr", cmp.Or(c.HTTP.ReconcilerAddr, c.HTTP.Addr))
	for i, u := range c.Redis.URL {
		d.checkRedis(fmt.Sprintf("redis.url[%d]", i), string(u))
	}
	d.rule("redis.prefix", prefixPattern.MatchString(c.Redis.Prefix), "want letters, digits, ., _ and - only, at most 32")
	d.checkStore(string(c.Store.URL))
	d.checkURL("alert.webhook", string(c.Alert.Webhook), "http", "https")
	d.checkURL("telemetry.otlp_endpoint", c.Telemetry.OTLPEndpoint, "http", "https")
	d.checkURL("telemetry.trace_url", c.Telemetry.TraceURL, "http", "https")
	d.rule("telemetry.trace_url", c.Telemetry.TraceURL == "" || strings.Contains(c.Telemetry.TraceURL, TraceIDMark),
		"lacks %s, in the place of the trace's id: https://jaeger.example/trace/%[1]s", TraceIDMark)
	d.rule("retry.cap", c.Retry.Cap >= c.Retry.First, "is shorter than retry.first")
	d.checkTokens(c.OperatorTokens)
	d.rule("telemetry.profiles", c.Telemetry.Profiles != "operators" || slices.ContainsFunc(c.OperatorTokens, func(t OperatorToken) bool { return t.Role == "operator" }),
		"needs one of operator_tokens with the role operator")
	d.checkWebhooks(c)
	d.rule("retention.commands", !c.Feed.Enabled || c.Retention.Commands == 0 || c.Retention.Commands > c.Feed.Keep,
		"is %s, not longer than feed.keep (%s): the change feed would name commands that are removed", c.Retention.Commands, c.Feed.Keep)
	for _, name := range slices.Sorted(maps.Keys(c.Sources)) {
		d.checkSource("sources."+name, name, c.Sources[name])
		d.checkReach("sources."+name+".reconcile", c.Sources[name].Reconcile, c.Retention.Events)
	}
}

// checkReach refuses settings under which events fall between two readings of the
// provider's list. A reading reaches back as far as one is apart from the next,
// and over the overlap.
func (d *decoder) checkReach(path string, r Reconcile, kept time.Duration) {
	reach := r.Gaps.Every + r.Gaps.Overlap
	d.rule(path+".window", r.Window >= reach,
		"is %s, shorter than gaps.every and gaps.overlap together (%s): the first search would reach back less far than each later one must", r.Window, reach)
	d.rule("retention.events", kept == 0 || RememberedFor(kept) >= reach,
		"is %s, too short for %s.gaps: events that the log has forgotten would be taken for missed, so a search reaches back %s only, and every and overlap are %s together",
		kept, path, RememberedFor(kept), reach)
}

// keptMargin is how long before the log forgets an event the search for missed
// events does.
const keptMargin = time.Hour

// RememberedFor is how far back the log is sure to have what came, if it keeps
// events for so long. The margin is for clocks that disagree and for as long as a
// search takes.
func RememberedFor(kept time.Duration) time.Duration { return kept - min(keptMargin, kept/2) }

// redisSchemes are the addresses package stream reads; the s is for TLS.
var redisSchemes = []string{"redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"}

// checkRedis looks at each host, since net/url knows no address of several. The password
// may hold any characters, so the last @ ends it.
func (d *decoder) checkRedis(path, text string) {
	if text == "" {
		return
	}
	scheme, rest, _ := strings.Cut(text, "://")
	rest = rest[strings.LastIndexByte(rest, '@')+1:]
	hosts, _, _ := strings.Cut(rest, "/")
	for host := range strings.SplitSeq(hosts, ",") {
		d.checkURL(path, scheme+"://"+host, redisSchemes...)
	}
}

// checkSource refuses answers that would make a sender repeat a good event for
// ever: some take nothing but 200 with a body for success.
func (d *decoder) checkSource(path, name string, s Source) {
	d.rule(path, name != "unknown", "stands for all sources that are not configured: choose another name")
	d.checkURL(path+".api_url", s.APIURL, "http", "https")
	for i, secret := range s.WebhookSecrets {
		d.rule(fmt.Sprintf("%s.webhook_secrets[%d]", path, i), secret == "" || len(secret) >= minSecret, tooShort, minSecret)
	}
	d.rule(path+".outbox", !s.Outbox || s.WriteKey != "", "needs write_key: without one nothing is changed at the provider, and rows would wait for ever")
	d.rule(path+".ack.accepted", carriesBody(s.Ack.Accepted), "want a 2xx that carries a body")
	d.rule(path+".ack.duplicate", carriesBody(s.Ack.Duplicate) || s.Ack.Duplicate == http.StatusConflict, "want a 2xx that carries a body, or 409")
}

func carriesBody(status int) bool {
	return status >= 200 && status < 300 && status != http.StatusNoContent && status != http.StatusResetContent
}

// rule reports a problem where the key was set, unless it holds.
func (d *decoder) rule(path string, holds bool, format string, args ...any) {
	if !holds && !d.reported[path] {
		d.bad(d.at[path], path, format, args...)
	}
}

// required reports every required value that is empty, at the line of what it
// belongs to.
func (d *decoder) required(v reflect.Value, path string) {
	for _, f := range fieldsOf(v.Type()) {
		fv, at := v.FieldByIndex(f.Index), join(path, f.name)
		switch {
		case f.required && empty(fv):
			if !d.reported[at] && !d.reported[at+"[0]"] && !d.reported[path] {
				d.bad(d.at[path], at, "is missing: %s", f.help)
			}
		case isGroup(f.Type):
			d.required(fv, at)
		case hasGroups(f.Type):
			keys := fv.MapKeys()
			slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
			for _, k := range keys {
				d.required(fv.MapIndex(k), join(at, k.String()))
			}
		case isGroups(f.Type):
			for i := range fv.Len() {
				d.required(fv.Index(i), fmt.Sprintf("%s[%d]", at, i))
			}
		}
	}
}

// empty reports whether nothing was given: no text, or a list of nothing.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map:
		return v.Len() == 0
	case reflect.Slice:
		for i := range v.Len() {
			if v.Index(i).IsZero() {
				return true
			}
		}
		return v.Len() == 0
	default:
		return v.IsZero()
	}
}

func (d *decoder) checkAddr(path, addr string) {
	if d.reported["http.addr"] {
		return
	}
	_, port, err := net.SplitHostPort(addr)
	n, numErr := strconv.Atoi(port)
	d.rule(path, err == nil && numErr == nil && n >= 0 && n <= 65535, "want host:port or :port")
}

// checkURL does not quote the address, which may hold a password.
func (d *decoder) checkURL(path, text string, schemes ...string) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	d.rule(path, err == nil && u.Host != "" && slices.Contains(schemes, u.Scheme), "want an address with a host: %s://…", strings.Join(schemes, "://… or "))
}

// storeForms are the addresses of a database.
const storeForms = "want mongodb://host/database, mongodb+srv://host/database or sqlite:///path/tarn.db"

// checkStore knows that a database file has an absolute path and a server a host
// and a database. The driver checks the rest: mongodb:// allows what net/url
// does not.
func (d *decoder) checkStore(text string) {
	scheme, rest, _ := strings.Cut(text, "://")
	rest, _, _ = strings.Cut(rest, "?")
	switch {
	case text == "":
	case scheme == "sqlite" && rest != "":
		d.rule("store.url", strings.HasPrefix(rest, "/") && !strings.HasSuffix(rest, "/"),
			"names no absolute path of a file: write sqlite:// and the whole path, as in sqlite:///var/lib/tarn/tarn.db")
	case scheme == "mongodb" || scheme == "mongodb+srv":
		host, database, _ := strings.Cut(rest, "/")
		d.rule("store.url", host != "", storeForms)
		d.rule("store.url", database != "", "names no database: write its name after the host, as in %s://host/tarn", scheme)
	default:
		d.rule("store.url", false, storeForms)
	}
}

func (d *decoder) checkTokens(tokens []OperatorToken) {
	names, secrets := map[string]bool{}, map[Secret]bool{}
	for i, t := range tokens {
		at := fmt.Sprintf("operator_tokens[%d]", i)
		d.rule(at+".token", t.Token == "" || len(t.Token) >= minSecret, tooShort, minSecret)
		d.rule(at+".name", t.Name == "" || !names[t.Name], "is taken: the audit must distinguish operators")
		d.rule(at+".token", t.Token == "" || !secrets[t.Token], "is another one's: the audit must distinguish operators")
		names[t.Name], secrets[t.Token] = true, true
	}
}
